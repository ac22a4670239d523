import { isIPv4, isIPv6 } from 'node:net';
import { signingError } from '../errors.ts';
import { writeDer, writeSequence } from './der.ts';

/** What an authority is to be allowed to certify; `directories` are DER Names. */
export interface PermittedNames {
  dns: readonly string[];
  ips: readonly string[];
  directories: readonly Buffer[];
}

/**
 * The value of a nameConstraints extension that permits only these names of the three kinds (RFC 5280 4.2.1.10). A kind
 * with an empty list is closed altogether: every DNS name or address is excluded.
 *
 * @throws E_AUTHORITY_INVALID naming the network that is not one.
 */
export function encodeNameConstraints(permitted: PermittedNames): Buffer {
  const subtree = (tag: number, content: Uint8Array) => writeSequence(writeDer(tag, content));
  const dns = permitted.dns.map(name => subtree(0x82, Buffer.from(name, 'latin1')));
  const ips = permitted.ips.map(network => subtree(0x87, encodeNetwork(network)));
  const directories = permitted.directories.map(name => subtree(0xa4, name));
  const excluded: Buffer[] = [];
  if (dns.length === 0) excluded.push(subtree(0x82, Buffer.alloc(0)));
  if (ips.length === 0) excluded.push(subtree(0x87, Buffer.alloc(8)), subtree(0x87, Buffer.alloc(32)));
  const parts = [writeDer(0xa0, ...dns, ...ips, ...directories)];
  if (excluded.length > 0) parts.push(writeDer(0xa1, ...excluded));
  return writeSequence(...parts);
}

/** Address and mask of a network in CIDR form. */
function encodeNetwork(network: string): Buffer {
  const [address = '', prefixText = '', ...rest] = network.split('/');
  const family = isIPv4(address) ? 4 : isIPv6(address) ? 16 : 0;
  const prefix = Number(prefixText);
  if (family === 0 || rest.length > 0 || !/^\d{1,3}$/.test(prefixText) || prefix > family * 8) {
    throw signingError({
      code: 'E_AUTHORITY_INVALID',
      message: 'A network that the authority may certify is not one.',
      where: 'permittedIps',
      expected: 'address/prefix, for example 127.0.0.0/8',
      found: network,
      fix: 'Write it in CIDR form.',
    });
  }
  const mask = Buffer.from(Array.from({ length: family }, (_, index) => byteMask(prefix - index * 8)));
  const bytes = family === 4 ? Buffer.from(address.split('.').map(Number)) : encodeIpv6(address);
  return Buffer.concat([bytes.map((byte, index) => byte & mask[index]!), mask]);
}

const byteMask = (bits: number): number => (bits >= 8 ? 0xff : bits <= 0 ? 0 : (0xff << (8 - bits)) & 0xff);

function encodeIpv6(address: string): Buffer {
  const [head = '', tail] = address.split('::');
  const words = (text: string) => text.split(':').filter(Boolean);
  const left = words(head);
  const right = tail === undefined ? [] : words(tail);
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0');
  const all = [...left, ...(tail === undefined ? [] : zeros), ...right];
  const bytes = Buffer.alloc(16);
  all.forEach((word, index) => bytes.writeUInt16BE(Number.parseInt(word, 16), index * 2));
  return bytes;
}
