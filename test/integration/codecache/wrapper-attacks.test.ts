import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { generateKeyPairSync, sign } from 'node:crypto';
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { VerifiedRelease } from '../../../lib/protocol/release.ts';
import { keyIdOf } from '../../../signing/keys/signer.ts';
import type { PublicKeyParts } from '../../../signing/keys/key-scheme.ts';
import { canonicalBytes, stableJson } from '../../../signing/stable-json.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { basics, onlyTools, shim } from './bare-nodes.ts';
import { newest, readTree, recovered, serveTree } from './forgery.ts';
import type { Signed, Tree } from './forgery.ts';
import { temporaryDirectory } from './web.ts';
import { runWrapper, startWrapper } from './wrapper-box.ts';

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
    keyval: { public: publicKey.export({ type: 'spki', format: 'pem' }) },
  };
  const signed = (value: Signed, keyid = keyIdOf(parts)) => ({
    keyid,
    sig: sign('sha256', canonicalBytes(value), privateKey).toString('hex'),
  });
  return { keyId: keyIdOf(parts), parts, signed };
}

const signaturesOf = (bytes: Buffer) =>
  (JSON.parse(bytes.toString()) as { signatures: unknown[] }).signatures;

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
  const signatures: { keyid: string; sig: string }[] = [];
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

test('a snapshot fast-forwarded by a stolen key is forgotten when the root names another key', async t => {
  const { stolen, healed } = await recovered(tree, lab);
  let current = stolen;
  const origin = await serveTree(t, () => current);
  const options = await box(t, [origin.url]);
  assert.equal((await runWrapper(options)).exit, 0);
  current = tree;
  assert.equal((await runWrapper(options)).result.code, 'E_TUF_STALE');
  current = healed;
  const run = await runWrapper(options);
  assert.equal(run.exit, 0, run.stderr);
});

test('floors that a stolen key drove up hold under the root of that key, and under no newer one', async t => {
  const { healed } = await recovered(tree, lab);
  let current = tree;
  const origin = await serveTree(t, () => current);
  const options = await box(t, [origin.url]);
  const floors = { root: 1, timestamp: 1e6, snapshot: 1e6, channelSerials: { stable: 1 }, signedTimeMs: 0 };
  const ends = async (changes = {}) => {
    const run = await runWrapper({ ...options, floors: { ...floors, ...changes } });
    return run.result.code;
  };
  assert.equal(await ends(), 'E_TUF_STALE', 'a cache cannot lower them');
  current = new Map(tree).set('metadata/2.root.json', tree.get('metadata/1.root.json')!);
  assert.equal(await ends(), 'E_TUF_ROLLBACK', 'nor by a root that is none');
  current = healed;
  assert.equal(await ends(), 'ok');
  const again = await (await startWrapper({ ...options, floors })).ended;
  assert.deepEqual([again.result.code, again.result.cache], ['ok', 'local'], again.stderr);
  assert.equal(await ends({ root: 2 }), 'E_TUF_STALE');
  assert.equal(await ends({ root: 2, timestamp: 0 }), 'E_TUF_STALE');
  assert.equal(await ends({ root: 3 }), 'E_TUF_STALE');
  assert.equal(await ends({ channelSerials: { stable: 2 } }), 'E_CHANNEL_FLOOR');
});

test('a trusted root that was damaged on disk is replaced by the pinned one', async t => {
  const origin = await serveTree(t, () => tree);
  const options = await box(t, [origin.url]);
  assert.equal((await runWrapper(options)).exit, 0);
  const [pin] = await readdir(join(options.store, 'metadata'));
  const path = join(options.store, 'metadata', pin!, 'root.json');
  await writeFile(path, (await readFile(path, 'utf8')).replace(/MFkw/g, 'MFkx'));
  await rm(join(options.store, 'metadata', pin!, 'state-Q1-linux-x64'));
  const run = await runWrapper(options);
  assert.equal(run.exit, 0, run.stderr);
});

test('what a cache writes around a signed timestamp does not outlive the try with that cache', async t => {
  const honest = tree.get('metadata/timestamp.json')!.toString();
  const origin = await serveTree(t, () => tree);
  for (const around of [
    [`rf ${'0'.repeat(64)} bin/none `, '"x":,'],
    ['e evil } 99999999999999 ', '"x":,'],
  ] as const) {
    const junk = around[0] + honest.replace('{"keyid"', `{${around[1]}"keyid"`);
    const liar = await serveTree(t, () => new Map(tree).set('metadata/timestamp.json', Buffer.from(junk)));
    const options = await box(t, [liar.url, origin.url]);
    const run = await runWrapper(options);
    assert.equal(run.exit, 0, run.stderr);
    assert.match(run.stderr, new RegExp(`E_TUF_FORMAT ${liar.url}`));
    const verified: unknown = JSON.parse(await readFile(join(options.directory, 'verified.json'), 'utf8'));
    assert.equal(VerifiedRelease.parse(verified).cache, origin.url);
  }
});

/** An environment in which a script stands before the program of its name. */
async function shimmed(t: TestContext, name: string, script: string): Promise<Record<string, string>> {
  const tools = await temporaryDirectory(t);
  await shim(tools, name, script);
  return { PATH: `${tools}:${process.env.PATH}` };
}

test('a status that is no number does not reach log and result', async t => {
  const server = createServer(socket => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end('HTTP/1.1 2\u001b[31m"00\\c OK\r\nContent-Length: 0\r\n\r\n'));
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const PATH = await onlyTools(await temporaryDirectory(t), [...basics, 'sh', 'awk', 'wget']);
  const run = await runWrapper({ ...(await box(t, [url])), shell: '/bin/sh', environment: { PATH } });
  assert.deepEqual([run.exit, run.result.code], [4, 'E_CACHE_UNREACHABLE']);
  assert.match(run.result.message, /status 000/);
  assert.match(run.stderr, /^[\n -~]*$/);
});

test('a cache that sends a byte now and then holds no file for hours', async t => {
  const origin = await serveTree(t, () => tree);
  const environment = await shimmed(t, 'curl', 'echo "$@" >>asked\nexec REAL "$@"');
  const options = await box(t, [origin.url]);
  assert.equal((await runWrapper({ ...options, environment })).exit, 0);
  const asked = (await readFile(join(options.directory, 'asked'), 'utf8')).trim().split('\n');
  for (const line of asked.filter(line => line.includes('/metadata/'))) {
    assert.ok(Number(/--max-time (\d+) /.exec(line)?.[1]) < 300, line);
  }
});

test('a full disk is not the fault of the cache', async t => {
  const origin = await serveTree(t, () => tree);
  const environment = await shimmed(t, 'curl', 'exec REAL -q -o /dev/full "$@"');
  const run = await runWrapper({ ...(await box(t, [origin.url])), environment });
  assert.deepEqual([run.exit, run.result.code], [2, 'E_STORE_WRITE'], run.stderr);
});

test('every tool runs in the C locale, and the agent in the one it was given', async t => {
  const origin = await serveTree(t, () => tree);
  const environment = await shimmed(t, 'awk', '[ "${LC_ALL-}" = C ] || exit 9\nexec REAL "$@"');
  const own = await makeReleaseRepository({
    directory: await temporaryDirectory(t),
    pilotFiles: { 'pilot.mjs': 'process.stdout.write(`${process.env.LC_ALL ?? "unset"}\\n`);' },
  });
  const ownTree = await readTree(own.publicDirectory);
  const ownOrigin = await serveTree(t, () => ownTree);
  assert.equal((await runWrapper({ ...(await box(t, [origin.url])), environment })).exit, 0);
  const options = { ...(await box(t, [ownOrigin.url])), rootJson: own.rootJson };
  assert.match((await runWrapper({ ...options, environment })).stdout, /^unset\n/);
  const german = { ...environment, LC_ALL: 'de_DE' };
  assert.match((await runWrapper({ ...options, environment: german })).stdout, /^de_DE\n/);
});

test('the result has a line of its own whatever the agent wrote before it', async t => {
  const own = await makeReleaseRepository({
    directory: await temporaryDirectory(t),
    pilotFiles: { 'pilot.mjs': 'process.stdout.write("cut off");' },
  });
  const ownTree = await readTree(own.publicDirectory);
  const origin = await serveTree(t, () => ownTree);
  const run = await runWrapper({ ...(await box(t, [origin.url])), rootJson: own.rootJson });
  assert.match(run.stdout, /^cut off\nPILOTAGE-RESULT /);
});

test('a wrapper of another process namespace with the same pid keeps its work directory', async t => {
  const origin = await serveTree(t, () => tree);
  const options = await box(t, [origin.url]);
  assert.equal((await runWrapper(options)).exit, 0);
  const script = 'mkdir "$PILOTAGE_STORE/tmp.$$" && exec sh wrapper.sh';
  const child = spawn('sh', ['-c', script], {
    cwd: options.directory,
    env: { ...process.env, PILOTAGE_STORE: options.store, PILOTAGE_TEST_NODE: process.execPath },
    stdio: 'ignore',
  });
  assert.equal(await new Promise(resolve => child.on('close', resolve)), 0);
  assert.ok((await readdir(options.store)).includes(`tmp.${child.pid}`));
});

test('a store named by a relative path is the one in the working directory, whatever CDPATH says', async t => {
  const origin = await serveTree(t, () => tree);
  const decoy = await temporaryDirectory(t);
  await mkdir(join(decoy, 'store'));
  const options = { ...(await box(t, [origin.url])), store: 'store', environment: { CDPATH: decoy } };
  const run = await runWrapper(options);
  assert.equal(run.exit, 0, run.stderr);
  assert.deepEqual(await readdir(join(decoy, 'store')), []);
  assert.ok((await readdir(join(options.directory, 'store'))).includes('unpacked'));
});
