/** A word with a link to its definition among the page's terms, which also shows when one points at it. */
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
