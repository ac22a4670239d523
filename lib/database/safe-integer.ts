/**
 * A whole number from a database's text form.
 *
 * @throws RangeError beyond 2^53-1, where a JavaScript number would silently be another one.
 */
export function safeInteger(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value))
    throw new RangeError(`The database returned ${text}, which is beyond 2^53-1.`);
  return value;
}

/** An exact numeric (sum, avg) as a number: whole ones as {@link safeInteger}, others rounded to a double. */
export const numeric = (text: string): number => (/^-?\d+$/.test(text) ? safeInteger(text) : Number(text));
