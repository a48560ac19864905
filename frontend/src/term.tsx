/** A word with a link to its definition among the page's terms; the definition also appears on hover. */
interface Props {
  /** The term's key. */
  of: string;
  children: string;
}

export function Term({ of, children }: Props) {
  const id = `term-${of}`;
  const term = document.getElementById(id);
  if (!term) return <>{children}</>;
  return (
    <a class="term" href={`#${id}`} title={term.nextElementSibling?.textContent ?? ""}>
      {children}
    </a>
  );
}
