import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { canonicalBytes } from '../../../signing/stable-json.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { forge, newest, readTree, serveTree, sha256Of } from './forgery.ts';
import type { Edit, Signed, Tree } from './forgery.ts';
import { temporaryDirectory } from './web.ts';
import { runWrapper } from './wrapper-box.ts';

let lab: ReleaseRepositoryLab;
let tree: Tree;
let keys: Map<string, { keyId: string; public: Signed }>;
const home = await makeTemporaryDirectory('wrapper-keys');
after(home.remove);
before(async () => {
  lab = await makeReleaseRepository({ directory: home.path });
  tree = await readTree(lab.publicDirectory);
  keys = new Map((await lab.keys.list()).map(key => [key.name, key as { keyId: string; public: Signed }]));
});

/** A node that can be shown one tree after another. */
async function node(t: TestContext) {
  let current = tree;
  const origin = await serveTree(t, () => current);
  const directory = await temporaryDirectory(t);
  const store = join(directory, 'store');
  return {
    store,
    sees: async (shown: Tree) => {
      current = shown;
      const run = await runWrapper({
        directory: join(directory, 'box'),
        store,
        rootJson: lab.rootJson,
        caches: [origin.url],
      });
      return { code: run.result.code, message: run.result.message };
    },
  };
}

const roleOf = (targets: Signed, name: string) =>
  (targets.delegations.roles as Signed[]).find(role => role.name === name)!;

test('one key under two ids is one key, in whatever form it is written', async t => {
  const { keyId, public: key } = keys.get('manager-1')!;
  const pem = String((key.keyval as Signed).public);
  const point = createPublicKey(pem);
  const body = pem.replace(/-----[A-Z ]+-----|\n/g, '');
  const forms = {
    'as it is': pem,
    'in one line': `-----BEGIN PUBLIC KEY-----\n${body}\n-----END PUBLIC KEY-----`,
    // The last digit of base64 has four bits that mean nothing.
    'with spare bits': pem.replace(
      /(.)(==)/,
      (_text, last: string) => `${String.fromCharCode(last.charCodeAt(0) + 1)}==`,
    ),
    compressed: compressed(point.export({ type: 'spki', format: 'der' })),
  };
  const signer = await lab.keys.signer('manager-1');
  for (const [name, text] of Object.entries(forms)) {
    const second = { ...key, keyval: { public: text } };
    const secondId = sha256Of(canonicalBytes(second));
    const otherId = secondId === keyId ? 'ab'.repeat(32) : secondId;
    const { signed } = newest(tree, 'stable');
    signed.version += 1;
    const sig = (await signer.sign(canonicalBytes(signed))).toString('hex');
    const forged = await forge(tree, lab, {
      targets: {
        edit: targets => {
          targets.delegations.keys[otherId] = second;
          roleOf(targets, 'stable').keyids = [keyId, otherId];
        },
      },
      stable: { signers: ['manager-1'], more: () => [{ keyid: otherId, sig }] },
    });
    const { code, message } = await (await node(t)).sees(forged);
    assert.equal(code, 'E_TUF_SIGNATURE', `${name}: ${message}`);
    assert.match(message, /1 of 2 signatures of stable hold/);
  }
});

/** SubjectPublicKeyInfo of P-256 with the point compressed, as PEM. */
function compressed(der: Buffer): string {
  const x = der.subarray(27, 59);
  const odd = der.at(-1)! % 2;
  const head = Buffer.from('3039301306072a8648ce3d020106082a8648ce3d030107032200', 'hex');
  const body = Buffer.concat([head, Buffer.from([2 + odd]), x]).toString('base64');
  return `-----BEGIN PUBLIC KEY-----\n${body}\n-----END PUBLIC KEY-----\n`;
}

/** A key that bare nodes cannot check with, and its signatures. */
function otherScheme(kind: 'ed25519' | 'rsa') {
  const { publicKey, privateKey } =
    kind === 'rsa' ? generateKeyPairSync('rsa', { modulusLength: 3072 }) : generateKeyPairSync('ed25519');
  const key =
    kind === 'rsa'
      ? {
          keytype: 'rsa',
          scheme: 'rsassa-pss-sha256',
          keyval: { public: publicKey.export({ type: 'spki', format: 'pem' }) },
        }
      : {
          keytype: 'ed25519',
          scheme: 'ed25519',
          keyval: {
            public: publicKey.export({ type: 'spki', format: 'der' }).subarray(-32).toString('hex'),
          },
        };
  const keyid = sha256Of(canonicalBytes(key));
  const signs = (signed: Signed) => ({
    keyid,
    sig: sign(kind === 'rsa' ? 'sha256' : null, canonicalBytes(signed), privateKey).toString('hex'),
  });
  return { keyid, key, signs };
}

test('keys of other schemes are left out, and the threshold is met by the ECDSA keys or not at all', async t => {
  const others = [otherScheme('ed25519'), otherScheme('rsa')];
  const more: Edit['more'] = signed => others.map(other => other.signs(signed));
  const list = (threshold: number) => ({
    root: {
      edit: (root: Signed) => {
        for (const { keyid, key } of others) {
          root.keys[keyid] = key;
          for (const role of ['root', 'timestamp', 'snapshot', 'targets'])
            root.roles[role].keyids.push(keyid);
        }
        root.roles.snapshot.threshold = threshold;
      },
      more,
    },
    targets: {
      edit: (targets: Signed) => {
        for (const { keyid, key } of others) {
          targets.delegations.keys[keyid] = key;
          roleOf(targets, 'releases').keyids.push(keyid);
        }
      },
      more,
    },
    releases: { more },
    snapshot: { more },
    timestamp: { more },
  });
  const here = await node(t);
  assert.equal((await here.sees(await forge(tree, lab, list(1)))).code, 'ok');
  const beyond = await (await node(t)).sees(await forge(tree, lab, list(2)));
  assert.equal(beyond.code, 'E_TUF_SIGNATURE');
  assert.match(beyond.message, /1 of 2 signatures of snapshot hold/);
});

test('each role can be given another key, and the one before counts no more', async t => {
  const { keyId, public: key } = keys.get('builder')!;
  const replace = (root: Signed, role: string, keep: number) => {
    root.keys[keyId] = key;
    root.roles[role].keyids = [...(root.roles[role].keyids as string[]).slice(0, keep), keyId];
  };
  for (const [role, before, signers] of [
    ['root', ['root-1', 'root-2'], ['root-1', 'builder']],
    ['timestamp', ['timestamp'], ['builder']],
    ['snapshot', ['snapshot'], ['builder']],
    ['targets', ['targets-1', 'targets-2'], ['targets-1', 'builder']],
  ] as const) {
    await t.test(role, async t => {
      const here = await node(t);
      assert.equal((await here.sees(tree)).code, 'ok');
      const edit = (root: Signed) => replace(root, role, signers.length - 1);
      const rotated = await forge(tree, lab, {
        root: { edit, signers: role === 'root' ? [...before, 'builder'] : ['root-1', 'root-2'] },
        ...(role !== 'root' && { [role]: { signers: [...signers] } }),
      });
      assert.equal((await here.sees(rotated)).code, 'ok');
      const old = await forge(rotated, lab, {
        [role]: { signers: [...before] },
      });
      const { code, message } = await here.sees(old);
      assert.equal(code, 'E_TUF_SIGNATURE', message);
    });
  }
});

test('delegated roles change keys and thresholds by targets alone', async t => {
  const here = await node(t);
  const manager = keys.get('manager-1')!;
  const stricter = {
    targets: {
      edit: (targets: Signed) => {
        const releases = roleOf(targets, 'releases');
        releases.keyids = [keys.get('builder')!.keyId, manager.keyId];
        releases.threshold = 2;
      },
    },
  };
  assert.equal((await here.sees(tree)).code, 'ok');
  const once = await forge(tree, lab, stricter);
  const { code, message } = await here.sees(once);
  assert.equal(code, 'E_TUF_SIGNATURE', message);
  assert.match(message, /1 of 2 signatures of releases hold/);
  const both = { ...stricter, releases: { signers: ['builder', 'manager-1'] } };
  assert.equal((await here.sees(await forge(tree, lab, both))).code, 'ok');
});

test('what was verified before a root that took keys away is verified again under that root', async t => {
  const here = await node(t);
  assert.equal((await here.sees(tree)).code, 'ok');
  const { keyId, public: key } = keys.get('builder')!;
  const edit = (root: Signed) => {
    root.keys[keyId] = key;
    root.roles.targets.keyids = [keyId];
    root.roles.targets.threshold = 1;
  };
  const rotated = await forge(tree, lab, { root: { edit } });
  const next = newest(rotated, 'root').path;
  // As when another process of this node followed the new root and ended before anything else.
  const [pin] = await readdir(join(here.store, 'metadata'));
  await writeFile(join(here.store, 'metadata', pin!, 'root.json'), rotated.get(next)!);
  const { code, message } = await here.sees(tree);
  assert.equal(code, 'E_TUF_SIGNATURE', message);
  assert.match(message, /targets/);
});

test('roles that a wrapper knows nothing of stand beside those it needs', async t => {
  const other = otherScheme('ed25519');
  const edit = (targets: Signed) => {
    targets.delegations.keys[other.keyid] = other.key;
    (targets.delegations.roles as Signed[]).unshift({
      name: 'trust',
      keyids: [other.keyid],
      paths: ['trust/*'],
      terminating: true,
      threshold: 1,
    });
  };
  const listed = { hashes: { sha256: 'ab'.repeat(32) }, length: 10, version: 3 };
  const forged = await forge(tree, lab, {
    targets: { edit },
    snapshot: { edit: signed => (signed.meta['trust.json'] = listed) },
  });
  const here = await node(t);
  assert.equal((await here.sees(forged)).code, 'ok');
});
