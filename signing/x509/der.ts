import { PilotageError } from '../../lib/errors.ts';

/** One tag-length-value of a DER encoding; `bytes` is the whole of it, `content` what follows tag and length. */
export interface DerNode {
  /** The identifier octet: class, constructed bit and (low) tag number. */
  tag: number;
  bytes: Buffer;
  content: Buffer;
}

export const derTags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  numericString: 0x12,
  printableString: 0x13,
  teletexString: 0x14,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  visibleString: 0x1a,
  bmpString: 0x1e,
  sequence: 0x30,
  set: 0x31,
} as const;

const MAX_DEPTH = 24;
const MAX_NODES = 20_000;

/** What is wrong with an encoding. Callers turn it into the refusal of what they were reading. */
export class DerError extends PilotageError<'E_DER'> {
  constructor(message: string, offset?: number) {
    super({ code: 'E_DER', message, ...(offset === undefined ? {} : { where: `byte ${offset}` }) });
    this.name = 'DerError';
  }
}

/** Reads the element at `offset`: low tags, definite minimal lengths, inside the bounds (X.690 sections 8 and 10). */
function readAt(bytes: Buffer, offset: number): DerNode {
  const tag = bytes[offset];
  const first = bytes[offset + 1];
  if (tag === undefined || first === undefined)
    throw new DerError('The encoding ends inside a header.', offset);
  if ((tag & 0x1f) === 0x1f) throw new DerError('High tag numbers do not belong here.', offset);
  let length = first;
  let start = offset + 2;
  if (first === 0x80) throw new DerError('Indefinite lengths are not DER.', offset);
  if (first > 0x80) {
    const count = first & 0x7f;
    if (count > 4) throw new DerError('The length is longer than four bytes.', offset);
    if (start + count > bytes.length) throw new DerError('The encoding ends inside a length.', offset);
    length = bytes.readUIntBE(start, count);
    start += count;
    if (length < 0x80 || bytes[offset + 2] === 0) throw new DerError('The length is not minimal.', offset);
  }
  if (start + length > bytes.length) throw new DerError('The content runs over the end.', offset);
  return {
    tag,
    bytes: bytes.subarray(offset, start + length),
    content: bytes.subarray(start, start + length),
  };
}

/**
 * Reads exactly one element.
 *
 * @throws DerError on anything but one element with nothing after it.
 */
export function readDer(bytes: Buffer, tag?: number): DerNode {
  const node = readAt(bytes, 0);
  if (node.bytes.length !== bytes.length) throw new DerError('Bytes follow the end.', node.bytes.length);
  return tag === undefined ? node : expectTag(node, tag);
}

/** The elements inside a constructed one. @throws DerError. */
export function derChildren(node: DerNode): DerNode[] {
  if ((node.tag & 0x20) === 0) throw new DerError('An element with parts was expected.');
  const found: DerNode[] = [];
  for (let offset = 0; offset < node.content.length;) {
    const child = readAt(node.content, offset);
    found.push(child);
    offset += child.bytes.length;
  }
  return found;
}

/** The same node, or DerError when it is absent or of another type. */
export function expectTag(node: DerNode | undefined, tag: number): DerNode {
  if (!node) throw new DerError(`An element with tag 0x${tag.toString(16)} is missing.`);
  if (node.tag !== tag) {
    throw new DerError(`Tag 0x${tag.toString(16)} was expected, 0x${node.tag.toString(16)} was found.`);
  }
  return node;
}

/** The children of a SEQUENCE that is the whole of `bytes`. @throws DerError. */
export const readSequence = (bytes: Buffer): DerNode[] => derChildren(readDer(bytes, derTags.sequence));

/**
 * Walks every element and checks what DER says of primitive types: minimal integers, one-byte booleans, minimal OID arcs,
 * zero padding bits; tag numbers at most 30, at most 24 levels and 20 000 elements.
 *
 * @throws DerError.
 */
export function assertStrictDer(bytes: Buffer): void {
  let count = 0;
  const visit = (node: DerNode, depth: number): void => {
    if (++count > MAX_NODES) throw new DerError('There are too many elements.');
    if (depth > MAX_DEPTH) throw new DerError('The elements are nested too deeply.');
    if ((node.tag & 0x20) !== 0) {
      if (node.tag < 0x40 && node.tag !== derTags.sequence && node.tag !== derTags.set) {
        throw new DerError(`Tag 0x${node.tag.toString(16)} is not DER: only SEQUENCE and SET have parts.`);
      }
      for (const child of derChildren(node)) visit(child, depth + 1);
    } else if (node.tag === 0x10 || node.tag === 0x11) {
      throw new DerError('A SEQUENCE or SET must be constructed.');
    } else checkPrimitive(node);
  };
  visit(readDer(bytes), 0);
}

function checkPrimitive(node: DerNode): void {
  if (node.tag === derTags.integer) readInteger(node);
  else if (node.tag === derTags.boolean) readBoolean(node);
  else if (node.tag === derTags.oid) readOid(node);
  else if (node.tag === derTags.bitString) readBitString(node);
  else if (node.tag === derTags.null && node.content.length > 0) throw new DerError('A NULL has content.');
}

/** @throws DerError unless it is an INTEGER in its shortest form. */
export function readInteger(node: DerNode | undefined): bigint {
  const { content } = expectTag(node, derTags.integer);
  const [first, second] = content;
  if (first === undefined) throw new DerError('An INTEGER is empty.');
  if (second !== undefined && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80))) {
    throw new DerError('An INTEGER is not minimal.');
  }
  const value = BigInt(`0x${content.toString('hex')}`);
  return first < 0x80 ? value : value - (1n << BigInt(content.length * 8));
}

/** @throws DerError unless it is a BOOLEAN of one byte, 00 or FF. */
export function readBoolean(node: DerNode | undefined): boolean {
  const { content } = expectTag(node, derTags.boolean);
  if (content.length !== 1 || (content[0] !== 0 && content[0] !== 0xff)) {
    throw new DerError('A BOOLEAN is neither 00 nor FF.');
  }
  return content[0] === 0xff;
}

/** Dotted form. @throws DerError. */
export function readOid(node: DerNode | undefined): string {
  const { content } = expectTag(node, derTags.oid);
  if (content.length === 0 || content.length > 64 || content.at(-1)! >= 0x80) {
    throw new DerError('An object identifier is empty, too long or cut off.');
  }
  const arcs: bigint[] = [];
  let value = 0n;
  let fresh = true;
  for (const byte of content) {
    if (fresh && byte === 0x80) throw new DerError('An object identifier is not minimal.');
    value = (value << 7n) | BigInt(byte & 0x7f);
    fresh = byte < 0x80;
    if (fresh) {
      arcs.push(value);
      value = 0n;
    }
  }
  const [head = 0n, ...rest] = arcs;
  const top = head < 40n ? 0n : head < 80n ? 1n : 2n;
  return [top, head - top * 40n, ...rest].join('.');
}

/** The bits as bytes and the number of unused ones at the end. @throws DerError. */
export function readBitString(node: DerNode | undefined): { bytes: Buffer; unusedBits: number } {
  const { content } = expectTag(node, derTags.bitString);
  const unusedBits = content[0];
  const bytes = content.subarray(1);
  if (unusedBits === undefined || unusedBits > 7 || (bytes.length === 0 && unusedBits > 0)) {
    throw new DerError('A BIT STRING has a wrong count of unused bits.');
  }
  if (bytes.length > 0 && (bytes.at(-1)! & ((1 << unusedBits) - 1)) !== 0) {
    throw new DerError('The unused bits of a BIT STRING are not zero.');
  }
  return { bytes, unusedBits };
}

/** Epoch milliseconds of a UTCTime or GeneralizedTime in the forms of RFC 5280 4.1.2.5. @throws DerError. */
export function readTime(node: DerNode | undefined): number {
  if (!node || (node.tag !== derTags.utcTime && node.tag !== derTags.generalizedTime)) {
    throw new DerError('A time is missing.');
  }
  const text = node.content.toString('latin1');
  const short = node.tag === derTags.utcTime;
  if (!(short ? /^\d{12}Z$/ : /^\d{14}Z$/).test(text)) {
    throw new DerError('A time is not written to the second, in UTC, as RFC 5280 says.');
  }
  const full = short ? (Number(text.slice(0, 2)) < 50 ? '20' : '19') + text : text;
  const iso = full.replace(/^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6.000Z');
  const value = Date.parse(iso);
  if (Number.isNaN(value) || new Date(value).toISOString() !== iso)
    throw new DerError(`There is no time ${text}.`);
  return value;
}

/** One element of `tag` holding the given parts. */
export function writeDer(tag: number, ...parts: Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const header = [tag];
  if (content.length < 0x80) header.push(content.length);
  else {
    const hex = content.length.toString(16);
    const size = Buffer.from(hex.length % 2 ? `0${hex}` : hex, 'hex');
    header.push(0x80 | size.length, ...size);
  }
  return Buffer.concat([Buffer.from(header), content]);
}

export const writeSequence = (...parts: Uint8Array[]): Buffer => writeDer(derTags.sequence, ...parts);

export function writeInteger(value: number): Buffer {
  const hex = value.toString(16);
  const bytes = Buffer.from(hex.length % 2 ? `0${hex}` : hex, 'hex');
  return writeDer(derTags.integer, bytes[0]! >= 0x80 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes);
}

export function writeOid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second, ...rest].flatMap(arc => {
    const groups = [arc & 0x7f];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) {
      groups.unshift((left % 128) | 0x80);
    }
    return groups;
  });
  return writeDer(derTags.oid, Buffer.from(bytes));
}

/** A BIT STRING without unused bits. */
export const writeBitString = (bytes: Uint8Array): Buffer =>
  writeDer(derTags.bitString, Buffer.from([0]), bytes);
