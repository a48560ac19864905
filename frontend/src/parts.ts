/** Marks the part of the page that is in view among the links to the parts. */

export function followParts(): void {
  const links = [...document.querySelectorAll<HTMLAnchorElement>("nav.parts a")];
  let current: HTMLAnchorElement | undefined;
  const follow = (): void => {
    const reached = links.filter((link) => (document.querySelector(link.hash)?.getBoundingClientRect().top ?? 1) < 120);
    const next = reached.at(-1);
    if (next === current) return;
    current?.removeAttribute("aria-current");
    next?.setAttribute("aria-current", "true");
    current = next;
  };
  addEventListener("scroll", follow, { passive: true });
  follow();
}
