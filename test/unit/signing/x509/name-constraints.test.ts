import assert from 'node:assert/strict';
import { test } from 'node:test';
import { writeDer } from '../../../../signing/x509/der.ts';
import { toPem } from '../../../../signing/x509/pem.ts';
import { trustFromPem } from '../../../../signing/x509/trust.ts';
import { verifyChain } from '../../../../signing/x509/verify-chain.ts';
import {
  basicConstraints,
  forgeProxy,
  hierarchy,
  keyUsage,
  name,
  nameConstraints,
  nowMs,
  subjectAltName,
} from './forge.ts';
import type { NameParts } from '../../../../signing/x509/names.ts';

const dns = (text: string) => writeDer(0x82, Buffer.from(text));
const ip = (...bytes: number[]) => writeDer(0x87, Buffer.from(bytes));
const email = (text: string) => writeDer(0x81, Buffer.from(text));
const uri = (text: string) => writeDer(0x86, Buffer.from(text));
const directory = (...parts: NameParts) => writeDer(0xa4, name(...parts));
const grid = directory(['O', 'Grid']);

interface Case {
  permitted?: Buffer[];
  excluded?: Buffer[];
  subject?: Buffer;
  names?: Parameters<typeof subjectAltName>;
  critical?: boolean;
}

function judge(where: 'root' | 'sub', { permitted, excluded, subject, names, critical }: Case): void {
  const constraints = nameConstraints(permitted ?? [], excluded ?? [], critical);
  const { root, sub, user } = hierarchy({
    [where]: { extensions: [basicConstraints(true, 1), keyUsage(0x06), constraints] },
    user: {
      ...(subject ? { subject } : {}),
      extensions: [basicConstraints(false), ...(names ? [subjectAltName(...names)] : [])],
    },
  });
  const trust = trustFromPem([{ file: 'ca.pem', pem: toPem(root.der) }], 'ca.pem');
  verifyChain([forgeProxy(user).der, user.der, sub.der], trust, nowMs);
}

const loopback = [127, 0, 0, 0, 255, 0, 0, 0];
const ip6 = [...Array.from({ length: 15 }, () => 0), 1];

const accepted: [string, Case][] = [
  ['a subject below the permitted directory', { permitted: [grid] }],
  ['other kinds are free when only DNS is named', { permitted: [dns('localhost')], names: [[1, 'a@b.org']] }],
  [
    'a kind that is not known and not constrained',
    { permitted: [dns('localhost')], names: [[8, Buffer.from([42])]] },
  ],
  ['the DNS name itself', { permitted: [dns('localhost')], names: [[2, 'LOCALHOST']] }],
  ['a DNS name below', { permitted: [dns('example.org')], names: [[2, 'a.example.org']] }],
  ['an address in the network', { permitted: [ip(...loopback)], names: [[7, Buffer.from([127, 9, 9, 9])]] }],
  [
    'one of two networks',
    { permitted: [ip(...loopback), ip(...ip6, ...ip6.map(() => 255))], names: [[7, Buffer.from(ip6)]] },
  ],
  ['the mailbox itself', { permitted: [email('a@b.org')], names: [[1, 'a@b.org']] }],
  ['an e-mail of the host', { permitted: [email('b.org')], names: [[1, 'a@b.org']] }],
  ['a URI of the domain', { permitted: [uri('.b.org')], names: [[6, 'https://a.b.org/x']] }],
  ['a subject outside the excluded directory', { excluded: [directory(['O', 'Other'])] }],
];
const refused: [string, Case][] = [
  ['a subject outside', { permitted: [directory(['O', 'Other'])] }],
  ['a subject outside, although not critical', { permitted: [directory(['O', 'Other'])], critical: false }],
  [
    'a longer permitted name',
    { permitted: [directory(['O', 'Grid'], ['OU', 'test'], ['CN', 'alice'], ['CN', 'x'])] },
  ],
  ['a subject in other case', { permitted: [directory(['O', 'GRID'])] }],
  ['a subject in the excluded directory', { excluded: [grid] }],
  [
    'a subject in the excluded directory in other case and spacing',
    { excluded: [directory(['O', ' gRID '])] },
  ],
  ['another DNS name', { permitted: [dns('localhost')], names: [[2, 'example.org']] }],
  ['a DNS name that only ends alike', { permitted: [dns('host')], names: [[2, 'localhost']] }],
  [
    'one bad name among good',
    {
      permitted: [dns('localhost')],
      names: [
        [2, 'localhost'],
        [2, 'evil.org'],
      ],
    },
  ],
  ['any DNS name', { excluded: [dns('')], names: [[2, 'localhost']] }],
  ['a wildcard over an excluded name', { excluded: [dns('a.evil.org')], names: [[2, '*.evil.org']] }],
  ['an address outside', { permitted: [ip(...loopback)], names: [[7, Buffer.from([128, 0, 0, 1])]] }],
  ['an address of the other family', { permitted: [ip(...loopback)], names: [[7, Buffer.from(ip6)]] }],
  ['an address of a strange length', { excluded: [ip(...loopback)], names: [[7, Buffer.from([1, 2, 3])]] }],
  ['an excluded address', { excluded: [ip(...loopback)], names: [[7, Buffer.from([127, 0, 0, 1])]] }],
  ['another mailbox', { permitted: [email('a@b.org')], names: [[1, 'c@b.org']] }],
  ['a URI without a host where one is excluded', { excluded: [uri('.b.org')], names: [[6, 'urn:x']] }],
  ['an e-mail elsewhere', { permitted: [email('b.org')], names: [[1, 'a@c.org']] }],
  [
    'an e-mail in the subject',
    { permitted: [email('b.org')], subject: name(['O', 'Grid'], ['CN', 'x'], ['emailAddress', 'a@c.org']) },
  ],
  ['a URI elsewhere', { permitted: [uri('.b.org')], names: [[6, 'https://b.org.evil.com/']] }],
  ['a URI without a host', { permitted: [uri('.b.org')], names: [[6, 'urn:x']] }],
  [
    'a kind that is constrained but not known',
    { permitted: [writeDer(0x88, Buffer.from([42]))], names: [[8, Buffer.from([42])]] },
  ],
];

for (const where of ['root', 'sub'] as const) {
  for (const [title, example] of accepted) {
    test(`constraints of the ${where}, accepted: ${title}`, () => judge(where, example));
  }
  for (const [title, example] of refused) {
    test(`constraints of the ${where}, refused: ${title}`, () => {
      assert.throws(() => judge(where, example), { code: 'E_CHAIN_INVALID', rule: /^name-constraints: / });
    });
  }
}

test('subtrees with minimum or maximum, or an empty list, are refused as not understood', () => {
  const odd = writeDer(0xa4, Buffer.concat([name(['O', 'Grid'])]));
  const withMinimum = Buffer.concat([odd, writeDer(0x80, Buffer.from([1]))]);
  assert.throws(() => judge('sub', { permitted: [withMinimum] }), { code: 'E_CHAIN_INVALID' });
  assert.throws(() => judge('sub', {}), { code: 'E_CHAIN_INVALID' });
});
