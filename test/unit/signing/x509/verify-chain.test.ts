import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { PilotageError } from '../../../../lib/errors.ts';
import { extendedUsages, extensionOids, proxyPolicies } from '../../../../signing/x509/extensions.ts';
import { toPem } from '../../../../signing/x509/pem.ts';
import { chainRules, type ChainRuleName } from '../../../../signing/x509/rules.ts';
import { trustFromPem } from '../../../../signing/x509/trust.ts';
import { verifyChain, type ChainPolicy } from '../../../../signing/x509/verify-chain.ts';
import {
  basicConstraints,
  ecKey,
  extendedKeyUsage,
  forge,
  forgeProxy,
  hierarchy,
  keyUsage,
  name,
  nameConstraints,
  nowMs,
  proxyCertInfo,
  proxyName,
  subjectAltName,
  under,
  unknownExtension,
  type Forged,
} from './forge.ts';
import {
  derChildren,
  readSequence,
  writeDer,
  writeInteger,
  writeSequence,
} from '../../../../signing/x509/der.ts';

const good = hierarchy();
const trustIn = (...roots: Forged[]) =>
  trustFromPem([{ file: 'ca.pem', pem: roots.map(({ der }) => toPem(der)).join('') }], 'ca.pem');
const ders = (...certificates: Forged[]) => certificates.map(({ der }) => der);
const verify = (chain: Forged[], root = good.root, policy: ChainPolicy = {}) =>
  verifyChain(ders(...chain), trustIn(root), nowMs, policy);

function assertRefused(rule: ChainRuleName, chain: Forged[], root = good.root, policy: ChainPolicy = {}) {
  assert.throws(
    () => verify(chain, root, policy),
    error => {
      assert.ok(error instanceof PilotageError, String(error));
      assert.equal(error.rule, `${rule}: ${chainRules[rule].source}`, error.message + error.found);
      assert.equal(error.code, chainRules[rule].code);
      for (const field of ['where', 'expected', 'found', 'fix'] as const) assert.ok(error[field], field);
      return true;
    },
  );
}

const proxy = forgeProxy(good.user);
const limitedInfo = proxyCertInfo({ language: proxyPolicies.limited });
const limited = forgeProxy(good.user, { extensions: [limitedInfo] });
const above = [good.user, good.sub];
const hourMs = 3_600_000;

test('a user, and a user with proxies, is taken for what it is', () => {
  const plain = verify([good.user, good.sub]);
  assert.equal(plain.endEntity.dn, '/O=Grid/OU=test/CN=alice');
  assert.ok(plain.endEntity.rawSubject.equals(good.user.subject));
  assert.equal(plain.issuerDn, '/O=Grid/OU=test/CN=sub');
  assert.deepEqual([plain.depth, plain.limited, plain.rights], [0, false, 'full']);
  assert.equal(plain.keyHashes.length, 3);
  assert.equal(plain.leafKeyHash, plain.keyHashes[0]);

  const below = forgeProxy(proxy, { notAfterMs: nowMs + hourMs });
  const deep = verify([below, proxy, ...above]);
  assert.deepEqual([deep.depth, deep.limited, deep.rights], [2, false, 'full']);
  assert.equal(deep.endEntity.dn, '/O=Grid/OU=test/CN=alice');
  assert.equal(deep.notAfterMs, nowMs + hourMs);
  assert.equal(deep.leafIssuerDn, '/O=Grid/OU=test/CN=alice/CN=1234');
  assert.deepEqual(deep.policies, [proxyPolicies.inheritAll, proxyPolicies.inheritAll]);
});

test('a leaf that outlives its parent ends with its parent', () => {
  const user = hierarchy({ user: { notAfterMs: nowMs + hourMs } }).user;
  const longer = forgeProxy(user, { notAfterMs: nowMs + 9 * hourMs });
  assert.equal(verify([longer, user, good.sub]).notAfterMs, nowMs + hourMs);
});

test('limited, independent and unknown policies take rights away, for everything below too', () => {
  assert.deepEqual(pick(verify([limited, ...above])), { limited: true, rights: 'limited' });
  const below = forgeProxy(limited, { extensions: [limitedInfo] });
  assert.deepEqual(pick(verify([below, limited, ...above])), { limited: true, rights: 'limited' });
  const named = forgeProxy(good.user, {}, 'limited proxy');
  assert.deepEqual(pick(verify([named, ...above])), { limited: true, rights: 'limited' });
  for (const language of [proxyPolicies.independent, '1.3.6.1.4.1.99999.7']) {
    const none = forgeProxy(good.user, { extensions: [proxyCertInfo({ language })] });
    assert.deepEqual(pick(verify([none, ...above])), { limited: false, rights: 'none' });
    assert.deepEqual(pick(verify([forgeProxy(none), none, ...above])), { limited: false, rights: 'none' });
  }
  const policy = forgeProxy(good.user, {
    extensions: [proxyCertInfo({ language: '1.3.6.1.5.5.7.21.0', policy: 'x' })],
  });
  assert.equal(verify([policy, ...above]).rights, 'none');
});
const pick = ({ limited, rights }: { limited: boolean; rights: string }) => ({ limited, rights });

test('a root sent along, a repeated certificate and another order change nothing', () => {
  const expected = verify([proxy, ...above]).keyHashes;
  for (const chain of [
    [proxy, ...above, good.root],
    [proxy, good.user, good.user, good.sub],
    [proxy, good.sub, good.root, good.user],
  ]) {
    assert.deepEqual(verify(chain).keyHashes, expected);
  }
});

test('an authority sent beside the path is not read, a stranger is refused', () => {
  const other = hierarchy({ sub: { subject: under('other sub'), key: ecKey() } });
  assert.equal(verify([good.user, good.sub, other.sub]).depth, 0);
  const bob = forge({ subject: under('bob'), issuer: good.sub, extensions: [basicConstraints(false)] });
  assertRefused('off-path', [proxy, ...above, bob]);
});

test('with an expired and a renewed root of one key, the renewed one counts', () => {
  const expired = hierarchy({ root: { notAfterMs: nowMs - hourMs } }).root;
  const trust = trustIn(expired, good.root);
  assert.equal(verifyChain(ders(good.user, good.sub), trust, nowMs).depth, 0);
});

test('an authority known here need not be sent', () => {
  const trust = trustIn(good.root, good.sub);
  assert.equal(verifyChain(ders(proxy, good.user), trust, nowMs).depth, 1);
});

test('further rules see the judged path and can refuse', () => {
  let seen = 0;
  verify([proxy, ...above], good.root, {
    rules: [
      path => {
        seen = path.proxies.length + path.authorities.length;
      },
    ],
  });
  assert.equal(seen, 2);
  const refuse = new PilotageError({ code: 'E_CHAIN_INVALID', message: 'revoked', rule: 'revocation' });
  assert.throws(
    () =>
      verify([proxy, ...above], good.root, {
        rules: [
          () => {
            throw refuse;
          },
        ],
      }),
    refuse,
  );
});

test('a TrustAnchors made by hand from a certificate that is no authority does not help', () => {
  const self = forge({ subject: under('x'), extensions: [basicConstraints(false)] });
  const user = forge({ subject: under('y'), issuer: self, extensions: [basicConstraints(false)] });
  const trust = trustIn(good.root);
  const { path } = verify([good.user, good.sub]);
  const fake = {
    ...path.anchor,
    subject: self.subject,
    publicKey: createPublicKey(self.key),
    basicConstraints: { ca: false },
  };
  assert.throws(() => verifyChain(ders(user), { ...trust, anchors: [fake] }, nowMs), {
    code: 'E_CHAIN_INVALID',
    rule: /^authority-constraints/,
  });
});

// Each attack changes one thing of a chain that is otherwise in order.
const attacks: [title: string, rule: ChainRuleName, run: () => [Forged[], Forged?, ChainPolicy?]][] = [];
const attack = (title: string, rule: ChainRuleName, run: () => [Forged[], Forged?, ChainPolicy?]) =>
  attacks.push([title, rule, run]);

const rootWith = (overrides: Parameters<typeof hierarchy>[0]): [Forged[], Forged] => {
  const { root, sub, user } = hierarchy(overrides);
  return [[user, sub], root];
};
const proxyWith = (overrides: Parameters<typeof forgeProxy>[1], commonName?: string): [Forged[]] => [
  [forgeProxy(good.user, overrides, commonName), ...above],
];
const raw = (der: Buffer): Forged => ({ ...good.user, der });

attack('no certificate', 'chain-present', () => [[]]);
attack('13 certificates', 'chain-bounds', () => [Array.from({ length: 13 }, () => good.user)]);
attack('a certificate over 64 KiB', 'chain-bounds', () => [
  [
    forge({
      subject: under('alice'),
      issuer: good.sub,
      extensions: [{ oid: '1.2.3.4', critical: false, value: writeDer(4, Buffer.alloc(70_000)) }],
    }),
    good.sub,
  ],
]);
attack('bytes after the end', 'strict-der', () => [
  [raw(Buffer.concat([good.user.der, Buffer.from([0])])), good.sub],
]);
attack('a part too many inside', 'strict-der', () => [
  [forge({ subject: under('alice'), issuer: good.sub, trailingInside: writeInteger(1) }), good.sub],
]);
attack('garbage', 'strict-der', () => [[raw(Buffer.from('not a certificate'))]]);
attack('an empty buffer', 'strict-der', () => [[raw(Buffer.alloc(0))]]);
attack('different algorithms inside and outside', 'strict-der', () => [
  [forge({ subject: under('alice'), issuer: good.sub, innerAlgorithm: 'sha1' }), good.sub],
]);
attack('a name that is not UTF-8', 'strict-der', () => [
  [forge({ subject: Buffer.from(under('alice').toString('hex').replace('616c69', 'ffffff'), 'hex') })],
]);
attack('a name of more than 2 KiB', 'strict-der', () =>
  rootWith({ user: { subject: under('x'.repeat(3000)) } }),
);
attack('an alternative name that is no name', 'strict-der', () =>
  rootWith({ user: { extensions: [subjectAltName([0x24, 'garbage'])] } }),
);
attack('name constraints on no name', 'strict-der', () =>
  rootWith({
    sub: {
      extensions: [basicConstraints(true), keyUsage(6), nameConstraints([writeDer(0xa4, Buffer.from('x'))])],
    },
  }),
);
const malformed: [title: string, oid: string, hex: string][] = [
  ['basicConstraints with FALSE written out', extensionOids.basicConstraints, '3003010100'],
  ['basicConstraints with a part too many', extensionOids.basicConstraints, '30080101ff0201000500'],
  ['basicConstraints with a path length but no CA', extensionOids.basicConstraints, '3003020100'],
  ['keyUsage of four bytes', extensionOids.keyUsage, '03050080000001'],
  ['keyUsage without a bit', extensionOids.keyUsage, '03020700'],
  ['extendedKeyUsage without a usage', extensionOids.extendedKeyUsage, '3000'],
  ['subjectAltName without a name', extensionOids.subjectAltName, '3000'],
  ['subjectAltName without a context tag', extensionOids.subjectAltName, '30030c0161'],
  ['nameConstraints with a part twice', extensionOids.nameConstraints, '300ea0053003820161a0053003820161'],
  ['nameConstraints in the wrong order', extensionOids.nameConstraints, '300ea1053003820161a0053003820161'],
];
for (const [title, oid, hex] of malformed) {
  attack(title, 'strict-der', () =>
    rootWith({ user: { extensions: [{ oid, critical: false, value: Buffer.from(hex, 'hex') }] } }),
  );
}
for (const [title, hex] of [
  ['a part too many', '300e300a06082b060105050715010500'],
  ['a policy part too many', '3010300e06082b0601050507150004000500'],
  ['a policy that is no octet string', '300e300c06082b060105050715000500'],
] as const) {
  attack(`proxyCertInfo with ${title}`, 'proxy-information', () =>
    proxyWith({
      extensions: [{ oid: extensionOids.proxyCertInfo, critical: true, value: Buffer.from(hex, 'hex') }],
    }),
  );
}
attack('an extension twice', 'duplicate-extension', () =>
  rootWith({ user: { extensions: [basicConstraints(false), basicConstraints(false)] } }),
);
attack('version 1 with extensions', 'version-3', () => rootWith({ user: { version: 1 } }));
attack('version 1', 'version-3', () => rootWith({ user: { version: 1, extensions: [] } }));
attack('a negative serial number', 'serial-number', () =>
  rootWith({ user: { serial: writeDer(2, Buffer.from([0x80])) } }),
);
attack('a serial number of 30 bytes', 'strict-der', () =>
  rootWith({ user: { serial: writeDer(2, Buffer.alloc(30, 0x41)) } }),
);
attack('serial number zero', 'serial-number', () =>
  rootWith({ user: { serial: writeDer(2, Buffer.from([0])) } }),
);
attack('a 1024-bit RSA key', 'key-type', () =>
  rootWith({ user: { key: generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey } }),
);
attack('a P-521 key', 'key-type', () => rootWith({ user: { key: ecKey('P-521') } }));
attack('a DSA-like foreign key type', 'key-type', () =>
  rootWith({
    user: {
      key: ecKey(),
      spki: generateKeyPairSync('x25519').publicKey.export({ type: 'spki', format: 'der' }),
    },
  }),
);
attack('an RSA key in an unusual encoding', 'key-type', () => {
  const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' });
  const [algorithm, bits] = readSequence(spki);
  const withoutNull = writeSequence(writeSequence(derChildren(algorithm!)[0]!.bytes), bits!.bytes);
  return rootWith({ user: { key, spki: withoutNull } });
});
attack('a compressed EC point', 'key-type', () => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const full = publicKey.export({ type: 'spki', format: 'der' });
  const head = Buffer.concat([full.subarray(0, 26), Buffer.from([2 + (full.at(-1)! & 1)])]);
  const spki = Buffer.concat([head, full.subarray(27, 59)]);
  spki[1]! -= 32;
  spki[24]! -= 32;
  return rootWith({ user: { spki } });
});
attack('a SHA-1 signature on the user', 'signature-hash', () => rootWith({ user: { algorithm: 'sha1' } }));
attack('a SHA-1 signature on a proxy', 'signature-hash', () => proxyWith({ algorithm: 'sha1' }));
attack('a SHA-1 signature on a sub-authority', 'signature-hash', () =>
  rootWith({ sub: { algorithm: 'sha1' } }),
);
attack('an MD5 signature', 'signature-hash', () => {
  const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  return rootWith({ sub: { key }, user: { algorithm: 'rsaMd5' } });
});
attack('a self-signed leaf', 'trust-anchor', () => [[forge({ subject: under('alice') })]]);
attack('a rogue root sent along', 'trust-anchor', () => {
  const { root, sub, user } = hierarchy({ root: { key: ecKey(), subject: under('rogue') } });
  return [[user, sub, root]];
});
attack('a rogue root with the same name', 'trust-anchor', () => {
  const { root, sub, user } = hierarchy({ root: { key: ecKey() } });
  return [[user, sub, root]];
});
attack('a rogue authority with the same name', 'trust-anchor', () => {
  const key = ecKey();
  const rogue = { ...good.sub, key };
  return [
    [forge({ subject: under('alice'), issuer: rogue, extensions: [basicConstraints(false)] }), good.sub],
  ];
});
attack('a missing intermediate', 'trust-anchor', () => [[good.user]]);
attack('a missing parent of a proxy', 'trust-anchor', () => [[proxy, good.sub]]);
attack('a proxy signed with another key', 'trust-anchor', () => [
  [forgeProxy({ ...good.user, key: ecKey() }), ...above],
]);
attack('a proxy that names another issuer', 'trust-anchor', () => proxyWith({ issuerName: under('bob') }));
attack('the root itself as a caller', 'trust-anchor', () => [[good.root]]);
attack('an expired user', 'validity', () => rootWith({ user: { notAfterMs: nowMs - 1000 } }));
attack('a user not yet valid', 'validity', () => rootWith({ user: { notBeforeMs: nowMs + 1000 } }));
attack('an expired sub-authority', 'validity', () => rootWith({ sub: { notAfterMs: nowMs - 1000 } }));
attack('an expired root', 'validity', () => rootWith({ root: { notAfterMs: nowMs - 1000 } }));
attack('an expired proxy', 'validity', () => proxyWith({ notAfterMs: nowMs - 1000 }));
attack('a proxy not yet valid', 'validity', () => proxyWith({ notBeforeMs: nowMs + 1000 }));
attack('an expired user under a valid proxy', 'validity', () => {
  const { user } = hierarchy({ user: { notAfterMs: nowMs - 1000 } });
  return [[forgeProxy(user), user, good.sub]];
});
attack('an issuer that is CA:FALSE', 'authority-constraints', () =>
  rootWith({ sub: { extensions: [basicConstraints(false), keyUsage(0x06)] } }),
);
attack('an issuer without basicConstraints', 'authority-constraints', () =>
  rootWith({ sub: { extensions: [keyUsage(0x06)] } }),
);
attack('a user issued by a user', 'authority-constraints', () => {
  const mallory = forge({
    subject: under('mallory'),
    issuer: good.user,
    extensions: [basicConstraints(false)],
  });
  return [[mallory, ...above]];
});
attack('an authority issued by a user', 'authority-constraints', () => {
  const ca = forge({
    subject: under('ca'),
    issuer: good.user,
    extensions: [basicConstraints(true), keyUsage(6)],
  });
  return [[forge({ subject: under('x'), issuer: ca, extensions: [basicConstraints(false)] }), ca, ...above]];
});
attack('a user issued by a proxy', 'authority-constraints', () => [
  [forge({ subject: under('x'), issuer: proxy, extensions: [basicConstraints(false)] }), proxy, ...above],
]);
attack('an authority without keyCertSign', 'authority-key-usage', () =>
  rootWith({ sub: { extensions: [basicConstraints(true), keyUsage(0x80)] } }),
);
attack('an authority without keyUsage', 'authority-key-usage', () =>
  rootWith({ sub: { extensions: [basicConstraints(true)] } }),
);
attack('a root whose keyUsage lacks keyCertSign', 'authority-key-usage', () =>
  rootWith({ root: { extensions: [basicConstraints(true), keyUsage(0x80)] } }),
);
attack('an authority below path length 0 of the root', 'authority-path-length', () =>
  rootWith({ root: { extensions: [basicConstraints(true, 0), keyUsage(0x06)] } }),
);
attack('an authority below path length 0 of a sub-authority', 'authority-path-length', () => {
  const third = forge({
    subject: under('third'),
    issuer: good.sub,
    extensions: [basicConstraints(true), keyUsage(0x06)],
  });
  const user = forge({ subject: under('x'), issuer: third, extensions: [basicConstraints(false)] });
  return [[user, third, good.sub]];
});
for (const who of ['root', 'sub', 'user'] as const) {
  attack(`an unknown critical extension in the ${who}`, 'critical-extension', () => {
    const forCa = who === 'user' ? [basicConstraints(false)] : [basicConstraints(true), keyUsage(0x06)];
    return rootWith({ [who]: { extensions: [...forCa, unknownExtension(true)] } });
  });
}
attack('an unknown critical extension in a proxy', 'critical-extension', () =>
  proxyWith({ extensions: [proxyCertInfo(), unknownExtension(true)] }),
);
attack('a critical nameConstraints in a user', 'critical-extension', () =>
  rootWith({ user: { extensions: [nameConstraints([writeDer(0x82, Buffer.from('a'))])] } }),
);
attack('an end entity without a name', 'end-entity', () => rootWith({ user: { subject: name() } }));
attack('an authority as a caller', 'end-entity', () => [[good.sub]]);
attack('a user whose key may not sign', 'key-usage', () =>
  rootWith({ user: { extensions: [basicConstraints(false), keyUsage(0x20)] } }),
);
attack('a proxy of a user whose key may not sign', 'key-usage', () => {
  const { user } = hierarchy({ user: { extensions: [basicConstraints(false), keyUsage(0x20)] } });
  return [[forgeProxy(user), user, good.sub]];
});
attack('a proxy whose key may not sign', 'key-usage', () =>
  proxyWith({ extensions: [proxyCertInfo(), keyUsage(0x20)] }),
);
attack("a server's certificate as a caller", 'extended-key-usage', () =>
  rootWith({ user: { extensions: [basicConstraints(false), extendedKeyUsage(extendedUsages.server)] } }),
);
attack('a client certificate as a server', 'extended-key-usage', () => [
  ...rootWith({ user: { extensions: [basicConstraints(false), extendedKeyUsage(extendedUsages.client)] } }),
  { usage: 'server' },
]);
attack('an authority for servers above a caller', 'extended-key-usage', () =>
  rootWith({
    sub: { extensions: [basicConstraints(true), keyUsage(0x06), extendedKeyUsage(extendedUsages.server)] },
  }),
);
attack('a proxy issued by an authority', 'proxy-issuer', () => {
  const direct = forgeProxy({ ...good.sub });
  return [[direct, good.sub]];
});
attack('a proxy issued by the root', 'proxy-issuer', () => [[forgeProxy(good.root)]]);
attack('proxyCertInfo not critical', 'proxy-information', () =>
  proxyWith({ extensions: [proxyCertInfo({ critical: false })] }),
);
attack('proxyCertInfo that cannot be parsed', 'proxy-information', () =>
  proxyWith({
    extensions: [{ oid: extensionOids.proxyCertInfo, critical: true, value: Buffer.from('garbage') }],
  }),
);
attack('an empty proxyCertInfo', 'proxy-information', () =>
  proxyWith({ extensions: [{ oid: extensionOids.proxyCertInfo, critical: true, value: writeDer(0x30) }] }),
);
attack('proxyCertInfo twice', 'duplicate-extension', () =>
  proxyWith({ extensions: [proxyCertInfo(), proxyCertInfo()] }),
);
attack('a path length of -1', 'proxy-information', () =>
  proxyWith({ extensions: [proxyCertInfo({ pathLength: writeDer(2, Buffer.from([0xff])) })] }),
);
attack('a path length of 2^63-1', 'proxy-information', () =>
  proxyWith({
    extensions: [proxyCertInfo({ pathLength: writeDer(2, Buffer.from('7fffffffffffffff', 'hex')) })],
  }),
);
attack('inheritAll with a policy', 'proxy-information', () =>
  proxyWith({ extensions: [proxyCertInfo({ policy: 'do anything' })] }),
);
attack('independent with a policy', 'proxy-information', () =>
  proxyWith({ extensions: [proxyCertInfo({ language: proxyPolicies.independent, policy: 'x' })] }),
);
attack('a legacy proxy', 'proxy-information', () => proxyWith({ extensions: [] }, 'proxy'));
attack('a legacy limited proxy', 'proxy-information', () => proxyWith({ extensions: [] }, 'limited proxy'));
attack('a draft proxy', 'proxy-information', () =>
  proxyWith({ extensions: [proxyCertInfo({ oid: extensionOids.draftProxyCertInfo, critical: false })] }),
);
attack('a draft and an RFC proxyCertInfo in one', 'proxy-information', () =>
  proxyWith({
    extensions: [proxyCertInfo(), proxyCertInfo({ oid: extensionOids.draftProxyCertInfo, critical: false })],
  }),
);
attack('a proxy whose name is not chained', 'proxy-name', () => proxyWith({ subject: under('bob') }));
attack('a proxy with the name of its issuer', 'proxy-name', () => proxyWith({ subject: good.user.subject }));
attack('a proxy below another name', 'proxy-name', () =>
  proxyWith({ subject: proxyName(under('bob'), '1234') }),
);
attack('a proxy that adds two CNs', 'proxy-name', () =>
  proxyWith({ subject: proxyName(good.user.subject, '1', '2') }),
);
attack('a proxy that adds an OU', 'proxy-name', () =>
  proxyWith({ subject: name(['O', 'Grid'], ['OU', 'test'], ['CN', 'alice'], ['OU', '1']) }),
);
attack('a proxy with an alternative name', 'proxy-alternative-name', () =>
  proxyWith({ extensions: [proxyCertInfo(), subjectAltName([1, 'alice@example.org'])] }),
);
attack('a proxy with an issuer alternative name', 'proxy-alternative-name', () =>
  proxyWith({
    extensions: [
      proxyCertInfo(),
      { ...subjectAltName([1, 'alice@example.org']), oid: extensionOids.issuerAltName },
    ],
  }),
);
attack('a proxy with keyCertSign', 'proxy-not-authority', () =>
  proxyWith({ extensions: [proxyCertInfo(), keyUsage(0x84)] }),
);
attack('a proxy that is CA:TRUE', 'proxy-not-authority', () =>
  proxyWith({ extensions: [proxyCertInfo(), basicConstraints(true)] }),
);
attack('one proxy more than path length 0', 'proxy-path-length', () => {
  const last = forgeProxy(good.user, { extensions: [proxyCertInfo({ pathLength: 0 })] });
  return [[forgeProxy(last), last, ...above]];
});
attack('a longer path length below a shorter one', 'proxy-path-length', () => {
  const one = forgeProxy(good.user, { extensions: [proxyCertInfo({ pathLength: 1 })] });
  const two = forgeProxy(one, { extensions: [proxyCertInfo({ pathLength: 9 })] });
  return [[forgeProxy(two), two, one, ...above]];
});
attack('more proxies than the service allows', 'proxy-depth', () => [
  [forgeProxy(proxy), proxy, ...above],
  good.root,
  { maxProxyDepth: 1 },
]);
attack('more proxies than five', 'proxy-depth', () => {
  const chain = [proxy];
  for (let depth = 1; depth < 6; depth++) chain.unshift(forgeProxy(chain[0]!, {}, `${depth}`));
  return [[...chain, ...above]];
});
attack('a full proxy below a limited one', 'proxy-limited', () => [[forgeProxy(limited), limited, ...above]]);
attack('a full proxy below one named limited', 'proxy-limited', () => {
  const named = forgeProxy(good.user, {}, 'limited proxy');
  return [[forgeProxy(named), named, ...above]];
});

for (const [title, rule, run] of attacks) {
  test(`refused: ${title}`, () => {
    const [chain, root, policy] = run();
    assertRefused(rule, chain, root, policy);
  });
}

test('every rule is attacked by some test above or in name-constraints.test.ts', () => {
  const attacked = new Set<string>([...attacks.map(([, rule]) => rule), 'off-path', 'name-constraints']);
  assert.deepEqual(
    Object.keys(chainRules).filter(rule => !attacked.has(rule)),
    [],
  );
});

test('a crafted tangle of cross-signed authorities is given up quickly', () => {
  const keys = [ecKey(), ecKey()];
  const nodes: Forged[] = Array.from({ length: 11 }, (_, index) => {
    const issuer = {
      der: Buffer.alloc(0),
      key: keys[(index + 1) % 2]!,
      subject: under(`t${(index + 1) % 2}`),
    };
    return forge({
      subject: under(`t${index % 2}`),
      key: keys[index % 2]!,
      issuer,
      extensions: [basicConstraints(true), keyUsage(0x06)],
    });
  });
  const user = forge({ subject: under('x'), issuer: nodes[0]!, extensions: [basicConstraints(false)] });
  let steps = 0;
  const { anchors, intermediates, source } = trustIn(good.root);
  const trust = {
    intermediates,
    source,
    get anchors() {
      steps++;
      return anchors;
    },
  };
  assert.throws(() => verifyChain(ders(user, ...nodes), trust, nowMs), { code: 'E_CHAIN_UNTRUSTED' });
  assert.ok(steps < 1000, `${steps} looks at the anchors`);
});

test('what is missing is named: the certificate whose issuer is not there', () => {
  assert.throws(() => verify([proxy, good.user]), {
    code: 'E_CHAIN_UNTRUSTED',
    where: 'certificate 2 of 2 (/O=Grid/OU=test/CN=alice)',
    found: 'issuer /O=Grid/OU=test/CN=sub',
    expected: 'a path to one of: /O=Grid/OU=test/CN=root',
    fix: /ca\.pem/,
  });
});
