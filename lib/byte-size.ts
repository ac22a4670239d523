/** A size as people write it in options and configuration: bytes, or with a binary unit. */
export const BYTE_SIZE = /^\d{1,15}(?:[KMGT]iB)?$/;

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];

/** Bytes of a text that fits {@link BYTE_SIZE}: `20GiB`, `1048576`. */
export function readByteSize(text: string): number {
  const unit = UNITS.indexOf(text.replace(/^\d+/, ''));
  return Number.parseInt(text, 10) * 1024 ** Math.max(0, unit);
}

/** "612 MiB": for people, rounded to three digits or so. */
export function readableBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const text = value >= 10 || unit === 0 ? value.toFixed(0) : value.toFixed(1).replace(/\.0$/, '');
  return `${text} ${UNITS[unit]}`;
}
