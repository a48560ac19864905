/** Which rows of a long list are drawn: those in view, and some around them. */

export const ROW = 44;
const AROUND = 6;

export function inView(scrolled: number, height: number, count: number): { first: number; last: number } {
  const first = Math.max(0, Math.floor(scrolled / ROW) - AROUND);
  const last = Math.min(count, Math.ceil((scrolled + height) / ROW) + AROUND);
  return { first: Math.min(first, last), last };
}

/** The scroll position at which a row is in view; unchanged if it already is. */
export function scrolledTo(row: number, scrolled: number, height: number): number {
  const top = row * ROW;
  if (top < scrolled) return top;
  return top + ROW > scrolled + height ? top + ROW - height : scrolled;
}

/** The row that a key moves to, or `null` if the key does not move through a list. */
export function rowAfter(key: string, row: number, count: number, page: number): number | null {
  const rows: Record<string, number> = {
    ArrowDown: row + 1,
    ArrowUp: row - 1,
    PageDown: row + page,
    PageUp: row - page,
    Home: 0,
    End: count - 1,
  };
  const next = rows[key];
  return next === undefined || count === 0 ? null : Math.min(count - 1, Math.max(0, next));
}
