import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { keyIdOf } from '../../../signing/keys/signer.ts';
import type { PublicKeyParts } from '../../../signing/keys/signer.ts';
import { canonicalBytes, stableJson } from '../../../signing/stable-json.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { newest, readTree, serveTree } from './forgery.ts';
import type { Signed, Tree } from './forgery.ts';
import { temporaryDirectory } from './web.ts';
import { runWrapper } from './wrapper-box.ts';

let lab: ReleaseRepositoryLab;
let tree: Tree;
const home = await makeTemporaryDirectory('wrapper-attacks');
after(home.remove);
before(async () => {
  lab = await makeReleaseRepository({ directory: home.path });
  tree = await readTree(lab.publicDirectory);
});

async function box(t: TestContext, caches: string[]) {
  const directory = await temporaryDirectory(t);
  return {
    directory: join(directory, 'box'),
    store: join(directory, 'store'),
    rootJson: lab.rootJson,
    caches,
  };
}

/** A key of an attacker's own. */
function ownKey() {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const parts: PublicKeyParts = {
    keytype: 'ecdsa',
    scheme: 'ecdsa-sha2-nistp256',
    keyval: { public: publicKey.export({ type: 'spki', format: 'pem' }) as string },
  };
  const signed = (value: Signed, keyid = keyIdOf(parts)) => ({
    keyid,
    sig: sign('sha256', canonicalBytes(value), privateKey).toString('hex'),
  });
  return { keyId: keyIdOf(parts), parts, signed };
}

const signaturesOf = (bytes: Buffer) => (JSON.parse(bytes.toString()) as { signatures: unknown[] }).signatures;

/** Valid JSON, but not the one form of which a shell can say what was signed. */
const spaced = (file: { signatures: unknown[]; signed: Signed }): Buffer =>
  Buffer.from(stableJson(file).toString().replace('"signed":{', '"signed":{ '));

test('a root whose signed bytes a shell cannot tell does not pass with the signatures of the root before it', async t => {
  const trusted = lab.rootJson;
  const evil = ownKey();
  const { signed } = JSON.parse(trusted.toString()) as { signed: Signed };
  signed.version += 1;
  signed.keys[evil.keyId] = evil.parts;
  for (const role of ['timestamp', 'snapshot', 'targets'])
    signed.roles[role] = { keyids: [evil.keyId], threshold: 1 };
  const forged = new Map(tree);
  forged.set('metadata/2.root.json', spaced({ signatures: signaturesOf(trusted), signed }));
  const timestamp = newest(tree, 'timestamp').signed;
  timestamp.version += 1;
  forged.set(
    'metadata/timestamp.json',
    stableJson({ signatures: [evil.signed(timestamp)], signed: timestamp }),
  );
  const origin = await serveTree(t, () => forged);
  const options = await box(t, [origin.url]);
  const run = await runWrapper(options);
  assert.equal(run.result.code, 'E_TUF_FORMAT', run.stderr);
  assert.match(run.result.message, /2\.root\.json/);
  assert.deepEqual(await readdir(join(options.store, 'unpacked')), []);
});

test('a timestamp of that kind does not pass with the signature of the one before it', async t => {
  let current = tree;
  const origin = await serveTree(t, () => current);
  const options = await box(t, [origin.url]);
  assert.equal((await runWrapper(options)).exit, 0);
  const { signed } = newest(tree, 'timestamp');
  signed.version += 1;
  signed.expires = '2099-01-01T00:00:00Z';
  const signatures = signaturesOf(tree.get('metadata/timestamp.json')!);
  current = new Map(tree).set('metadata/timestamp.json', spaced({ signatures, signed }));
  assert.equal((await runWrapper(options)).result.code, 'E_TUF_FORMAT');
});

test('keys of a root that was refused are gone at the next try', async t => {
  // A root may list keys of a kind the wrapper does not check with; such a key must stay without a file.
  const evil = ownKey();
  const otherKind = 'ed'.repeat(32);
  const { signed } = JSON.parse(lab.rootJson.toString()) as { signed: Signed };
  signed.keys[otherKind] = {
    keytype: 'ed25519',
    scheme: 'ed25519',
    keyval: { public: '00'.repeat(32) },
  };
  signed.roles.timestamp = { keyids: [otherKind], threshold: 1 };
  const signatures = [];
  for (const name of ['root-1', 'root-2']) {
    const signer = await lab.keys.signer(name);
    const sig = (await signer.sign(canonicalBytes(signed))).toString('hex');
    signatures.push({ keyid: signer.keyId, sig });
  }
  const rootJson = stableJson({ signatures, signed });
  const next = structuredClone(signed);
  next.version += 1;
  next.keys[otherKind] = evil.parts;
  const timestamp = newest(tree, 'timestamp').signed;
  timestamp.version += 1;
  const forged = new Map(tree);
  forged.set(
    'metadata/timestamp.json',
    stableJson({ signatures: [evil.signed(timestamp, otherKind)], signed: timestamp }),
  );
  const liar = await serveTree(t, () =>
    new Map(forged).set('metadata/2.root.json', stableJson({ signatures, signed: next })),
  );
  const accomplice = await serveTree(t, () => forged);
  const run = await runWrapper({ ...(await box(t, [liar.url, accomplice.url])), rootJson });
  assert.equal(run.exit, 3, run.stderr);
  assert.match(run.stderr, new RegExp(`E_TUF_SIGNATURE ${accomplice.url}/metadata/timestamp`));
});
