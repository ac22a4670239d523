/** Text as every database keeps it: without NUL characters, cut at `maxCharacters`. */
export const storableText = (text: string, maxCharacters: number): string =>
  text.replaceAll('\0', '\u{FFFD}').slice(0, maxCharacters);
