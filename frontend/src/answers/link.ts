/** The part of the address that names a problem, so that it can be sent to somebody. */

const PREFIX = "#problem=";

export function linkTo(id: string): string {
  return PREFIX + encodeURIComponent(id);
}

export function linked(hash: string): string | null {
  if (!hash.startsWith(PREFIX)) return null;
  try {
    return decodeURIComponent(hash.slice(PREFIX.length));
  } catch {
    return null;
  }
}
