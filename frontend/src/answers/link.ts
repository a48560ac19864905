/** The part of the address that names a problem, so that it can be sent to somebody. */

/** A test problem, or one that the teacher answered. */
export type Kind = "problem" | "taught";

export function linkTo(kind: Kind, id: string): string {
  return `#${kind}=${encodeURIComponent(id)}`;
}

export function linked(kind: Kind, hash: string): string | null {
  const prefix = `#${kind}=`;
  if (!hash.startsWith(prefix)) return null;
  try {
    return decodeURIComponent(hash.slice(prefix.length));
  } catch {
    return null;
  }
}
