import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFile, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { places } from '../../../signing/release/layout.ts';
import { readPublicDirectory } from '../../../signing/release/metadata/read-public.ts';
import { withRepository, type ReleaseContext } from '../../../signing/release/repository/repository.ts';
import { exportRequest } from '../../../signing/release/sign/export-request.ts';
import { importRequest } from '../../../signing/release/sign/import-request.ts';
import { dropPending, listPending } from '../../../signing/release/sign/list-pending.ts';
import { signRequest } from '../../../signing/release/sign/sign-request.ts';
import {
  readRequest,
  requestBytes,
  type SigningRequest,
} from '../../../signing/release/sign/signing-request.ts';
import { fileStorage } from '../../../signing/release/storage/file-storage.ts';
import { openKeyDirectory } from '../../../signing/keys/key-directory.ts';
import { passphraseSource } from '../../../signing/keys/passphrase.ts';
import { promote } from '../../../signing/release/channels/promote.ts';
import { publish } from '../../../signing/release/repository/publish.ts';
import { removeTargets, resignRole } from '../../../signing/release/repository/amend-role.ts';
import { verifyMetadata } from '../../../signing/release/metadata/verify-metadata.ts';
import { describeLog } from '../../../signing/release/repository/report.ts';
import { releaseLog, verifyRepository } from '../../../signing/release/repository/verify-repository.ts';
import { systemClock } from '../../../lib/clock.ts';
import { releaseCommand, type Ended } from '../../lab/release-command.ts';
import {
  makePilotTarball,
  makeReleaseRepository,
  type ReleaseRepositoryLab,
} from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';

let directory: string;
let remove: () => Promise<void>;
let lab: ReleaseRepositoryLab;
let command: (args: readonly string[]) => Promise<Ended>;
let rootFile: string;

before(async () => {
  ({ path: directory, remove } = await makeTemporaryDirectory('sign-apart'));
  lab = await makeReleaseRepository({ directory });
  await lab.addPilot('2.0.0');
  await lab.publish();
  rootFile = join(directory, 'pinned-root.json');
  await writeFile(rootFile, lab.rootJson);
  await share('online', 'snapshot', 'timestamp', 'builder');
  await share('anna', 'manager-1');
  await share('boris', 'manager-2');
  await share('carla', 'manager-3');
  const run = await releaseCommand(directory);
  command = args => run(args, { PILOTAGE_PASSPHRASE_FILE: lab.passphraseFile });
});
after(() => remove());

/** Gives a person a directory with these keys only. */
async function share(person: string, ...names: string[]): Promise<void> {
  await mkdir(join(directory, person));
  for (const name of names) {
    await copyFile(join(lab.keysDirectory, `${name}.key.json`), join(directory, person, `${name}.key.json`));
  }
}

const ringOf = (person: string) =>
  openKeyDirectory({
    directory: join(directory, person),
    clock: systemClock,
    passphrases: passphraseSource({ file: lab.passphraseFile }),
  });

let copies = 0;
/** A copy of the repository, at which only the online keys are. */
async function elsewhere(person = 'online'): Promise<ReleaseContext> {
  const copy = join(directory, `copy-${(copies += 1)}`);
  await cp(lab.directory, copy, { recursive: true });
  return { ...lab.context, storage: fileStorage(copy), keys: ringOf(person), propose: true };
}

const exported = (context: ReleaseContext) => withRepository(context, opened => exportRequest(opened));
const imported = (context: ReleaseContext, request: SigningRequest) =>
  withRepository(context, opened => importRequest(opened, request, 'request'));

/** What a person would be shown, and the request with that person's signature. */
async function signedBy(person: string, request: SigningRequest, pinnedRoot: Uint8Array = lab.rootJson) {
  let shown = '';
  const result = await signRequest({
    request,
    where: 'request',
    keys: ringOf(person),
    nowMs: Date.now(),
    pinnedRoot,
    confirm: async text => {
      shown = text;
      return true;
    },
  });
  return { ...result, shown };
}

/** As it comes out of a file again, so that changes stay with this copy. */
const copyOf = (request: SigningRequest) => JSON.parse(requestBytes(request).toString()) as SigningRequest;

async function done(ended: Promise<Ended>): Promise<string> {
  const { code, stdout, stderr } = await ended;
  assert.equal(code, 0, stderr);
  return stdout + stderr;
}

test('two managers promote to stable, each in a process of their own with their own key', async () => {
  const context = await elsewhere();
  const repo = ['--repo', context.storage.name];
  const online = [...repo, '--keys', join(directory, 'online')];
  const requestFile = join(directory, 'request.json');
  const [forAnna, forCarla] = [join(directory, 'for-anna.json'), join(directory, 'for-carla.json')];
  const refused = await command(['promote', '2.0.0', 'stable', ...online]);
  assert.equal(refused.code, 3);
  assert.match(refused.stderr, /E_THRESHOLD_NOT_MET[^]*--propose/);
  const proposed = await done(command(['promote', '2.0.0', 'stable', '--propose', ...online]));
  assert.match(proposed, /stable: waits for more signatures/);
  assert.equal((await publish(context)).published, false);
  await done(command(['sign', '--export', requestFile, ...repo]));
  for (const file of [forAnna, forCarla]) await copyFile(requestFile, file);
  const sign = (person: string, file: string, ...more: string[]) =>
    command(['sign', file, '--keys', join(directory, person), '--root', rootFile, ...more]);
  const unasked = await sign('anna', forAnna);
  assert.equal(unasked.code, 2);
  assert.match(unasked.stderr, /--yes/);
  const anybodys = await command(['sign', forAnna, '--keys', join(directory, 'anna'), '--yes']);
  assert.equal(anybodys.code, 2);
  assert.match(anybodys.stderr, /--root/);
  const [anna, carla] = await Promise.all([sign('anna', forAnna, '--yes'), sign('carla', forCarla, '--yes')]);
  assert.equal(carla.code, 0, carla.stderr);
  assert.match(anna.stderr, /stable: 1\.0\.0 -> 2\.0\.0 \(serial 1 -> 2\)/);
  assert.match(anna.stderr, /stable: every node starts 2\.0\.0/);
  assert.match(anna.stderr, /commit lab/);
  assert.match(anna.stderr, /signed by: nobody yet; 2 more needed/);
  assert.match(anna.stderr, /chain of roots holds from the pinned root/);
  assert.match(await done(command(['sign', '--import', forCarla, ...repo])), /1 more needed/);
  assert.match(await done(command(['sign', '--list', ...repo])), /signed by manager-3, 1 more needed/);
  const both = command(['sign', '--import', forCarla, '--import', forAnna, ...repo]);
  assert.match(await done(both), /new signatures of manager-1; enough people signed/);
  assert.match(await done(command(['sign', '--import', forAnna, ...repo])), /it had enough before/);
  await done(command(['publish', ...online]));
  const log = describeLog(await releaseLog(context));
  assert.match(log, /propose stable v3 by nobody /);
  assert.match(log, /sign stable v3 by manager-3/);
  assert.match(log, /promote stable v3 by (manager-1\+manager-3|manager-3\+manager-1) .*pilot=2\.0\.0/);
  const bytes = await readPublicDirectory(join(repo[1]!, 'public'), lab.rootJson);
  const verified = verifyMetadata(bytes, { nowMs: Date.now(), where: 'public' });
  assert.equal(verified.channels.stable?.current.version, '2.0.0');
  await verifyRepository(context);
});

test('a request is the same bytes each time, and can be read as a file', async () => {
  const context = await elsewhere();
  await promote({ ...context, version: '2.0.0', channel: 'stable' });
  const [first, second] = [await exported(context), await exported(context)];
  assert.ok(requestBytes(first).equals(requestBytes(second)));
  const file = join(directory, 'same.json');
  await writeFile(file, requestBytes(first));
  assert.deepEqual(await readRequest(file), copyOf(first));
  for (const text of ['', '{', '{"schema":1}', '[1]']) {
    await writeFile(file, text);
    await assert.rejects(readRequest(file), { code: 'E_REQUEST_INVALID', where: file });
  }
});

test('whatever command proposes says that it waits, and not that it signed', async () => {
  const context = await elsewhere();
  await share('nobody', 'timestamp');
  const builds = join(directory, 'builds');
  const tarball = await makePilotTarball({ directory: builds, version: '2.1.0' });
  const options = ['--repo', context.storage.name, '--keys', join(directory, 'nobody'), '--propose'];
  const said = async (...args: string[]) => (await done(command([...args, ...options]))).split('\n')[0]!;
  assert.match(await said('resign', 'targets'), /^Proposed targets again as version 2; it waits/);
  assert.match(await said('add', tarball), /^Proposed pilot\/2\.1\.0\/.* for releases version 5; it waits/);
  assert.match(await said('revoke', '2.0.0'), /^2\.0\.0 is to be withdrawn, still in releases/);
  await done(command(['sign', '--drop', 'releases', '--repo', context.storage.name]));
  const { added, proposed } = JSON.parse(await said('add', tarball, '--json')) as Record<string, boolean>;
  assert.deepEqual([added, proposed], [true, true]);
  await done(command(['sign', '--drop', 'dev', '--repo', context.storage.name]));
  const resigned = JSON.parse(await said('resign', 'dev', '--json')) as object;
  assert.deepEqual(resigned, { role: 'dev', version: 3, proposed: true });
});

test('what a request says in place of a name moves no cursor', async () => {
  const file = join(directory, 'escapes.json');
  const context = await elsewhere();
  await resignRole({ ...context, role: 'stable' });
  const request = await exported(context);
  const names = { '\u001b[2J\n  fix: sign it': 5 };
  await writeFile(file, JSON.stringify({ ...request, names }));
  const ended = await command(['sign', file, '--keys', join(directory, 'anna')]);
  assert.match(ended.stderr, /^E_REQUEST_INVALID: [^\n]*fix: sign it[^\n]*\n {2}where: /);
  assert.doesNotMatch(ended.stderr, /\p{Cc}(?<!\n)/u);
});

test('what was altered in a request is refused before anybody signs', async () => {
  const context = await elsewhere();
  await promote({ ...context, version: '2.0.0', channel: 'stable' });
  const request = await exported(context);
  const pointers = Object.keys(request.files).filter(hash =>
    JSON.stringify(request.files[hash]).includes('"serial":2'),
  );
  assert.equal(pointers.length, 1);
  const refuses = async (code: string, alter: (request: SigningRequest) => void) => {
    const altered = copyOf(request);
    alter(altered);
    let asked = false;
    const confirm = async () => (asked = true);
    const options = { where: 'request', keys: ringOf('anna'), nowMs: Date.now(), pinnedRoot: lab.rootJson };
    await assert.rejects(signRequest({ ...options, request: altered, confirm }), { code });
    assert.equal(asked, false, `${code}: nobody is asked to sign it`);
  };
  const stable = (altered: SigningRequest) => altered.items[0]!.metadata.signed;
  // What is shown is not what the hash says: another pointer than the one that would be signed.
  await refuses('E_REQUEST_INVALID', altered => {
    const pointer = altered.files[pointers[0]!] as { rollout: { percent: number } };
    pointer.rollout.percent = 1;
  });
  await refuses('E_REQUEST_INVALID', altered => delete altered.files[pointers[0]!]);
  await refuses('E_REQUEST_INVALID', altered => (stable(altered).version = 7));
  await refuses('E_REQUEST_INVALID', altered => Object.assign(stable(altered), { 'x-hidden': 1 }));
  await refuses('E_REQUEST_INVALID', altered => {
    Object.assign(stable(altered), { delegations: { keys: {}, roles: [] } });
  });
  await refuses('E_REQUEST_INVALID', altered => (altered.items = [...altered.items, ...altered.items]));
  // A date that Date.parse takes, and that would draw lines of its own before the person who reads.
  await refuses('E_REQUEST_INVALID', altered => {
    stable(altered).expires = '2040-01-01 (\n  stable: 1.0.0 -> 1.0.1)';
  });
  await refuses('E_REQUEST_INVALID', altered => {
    const { targets } = stable(altered) as { targets: Record<string, object> };
    targets[`channels/x${' '.repeat(60)}canary: 1.0.0`] = targets['channels/stable.json']!;
  });
  await refuses('E_TUF_EXPIRED', altered =>
    Object.assign(stable(altered), { expires: '2020-01-01T00:00:00Z' }),
  );
  await refuses('E_REQUEST_INVALID', altered => {
    const { targets } = stable(altered) as { targets: Record<string, { length: number }> };
    targets['channels/stable.json']!.length += 1;
  });
  await refuses('E_REQUEST_INVALID', altered => {
    const { targets } = stable(altered) as { targets: Record<string, object> };
    Object.assign(targets['channels/stable.json']!, { custom: { note: 'unseen' } });
  });
  // The people who may sign are those of the verified chain.
  await refuses('E_TUF_SIGNATURE', altered => {
    const targets = altered.current.targets!.signed as { delegations: { roles: { threshold: number }[] } };
    for (const role of targets.delegations.roles) role.threshold = 1;
  });
  await refuses('E_TUF_SIGNATURE', altered => {
    const current = altered.current.stable!.signed as { expires: string };
    current.expires = '2040-01-01T00:00:00Z';
  });
  await refuses('E_TUF_SIGNATURE', altered => {
    const releases = altered.current.releases!.signed as { targets: Record<string, { length: number }> };
    releases.targets['pilot/2.0.0/pilot-2.0.0.tar.gz']!.length = 1;
  });
});

test('another key behind a known key id, and fields that nobody is shown, are refused', async () => {
  await share('root-holder', 'root-3', 'targets-3');
  const context = await elsewhere();
  await resignRole({ ...context, role: 'root' });
  await resignRole({ ...context, role: 'targets' });
  const request = await exported(context);
  const refuses = async (what: RegExp, alter: (signed: Record<string, never>[]) => void) => {
    const altered = copyOf(request);
    alter(altered.items.map(({ metadata }) => metadata.signed as Record<string, never>));
    await assert.rejects(signedBy('root-holder', altered), { code: 'E_REQUEST_INVALID', message: what });
  };
  interface Keys {
    keys: Record<string, { keyval: { public: string } }>;
  }
  const swap = ({ keys }: Keys) => {
    const [first, second] = Object.values(keys);
    first!.keyval = second!.keyval;
  };
  await refuses(/root lists another key under the id/, ([root]) => swap(root as unknown as Keys));
  await refuses(/targets lists another key under the id/, ([, targets]) =>
    swap((targets as unknown as { delegations: Keys }).delegations),
  );
  const roles = (signed: unknown) =>
    (signed as { delegations: { roles: { threshold: number }[] } }).delegations;
  await refuses(
    /nobody could sign stable any more/,
    ([, targets]) => (roles(targets).roles[1]!.threshold = 4),
  );
  await refuses(/root cannot be shown/, ([root]) => Object.assign(root!, { 'x-later': true }));
  await refuses(/targets cannot be shown/, ([, targets]) => Object.assign(targets!, { 'x-later': true }));
  // The second of two delegations of one name would be signed and not be shown.
  await refuses(/duplicate delegated role/, ([, targets]) => {
    const { roles } = (targets as unknown as { delegations: { roles: object[] } }).delegations;
    roles.push({ ...roles[1], threshold: 1 });
  });
  assert.equal((await signedBy('root-holder', request)).signed.length, 2);
});

test('a request of another repository, or without any key of ours, is refused', async () => {
  const context = await elsewhere();
  await promote({ ...context, version: '2.0.0', channel: 'stable' });
  const request = await exported(context);
  const other = Buffer.from(lab.rootJson.toString().replace('"version":1', '"version":2'));
  await assert.rejects(signedBy('anna', request, other), { code: 'E_TUF_SIGNATURE', message: /pinned root/ });
  await assert.rejects(signedBy('online', request), { code: 'E_KEY_NOT_AUTHORIZED', expected: /manager-1/ });
  const options = { request, where: 'request', keys: ringOf('anna'), nowMs: Date.now() };
  const unpinned = signRequest({
    ...options,
    confirm: async text => assert.match(text, /NOT compared/) === null,
  });
  await assert.rejects(unpinned, { code: 'E_ABORTED' });
});

test('signatures of strangers, of other bytes and for other bytes are not taken over', async () => {
  const context = await elsewhere();
  await promote({ ...context, version: '2.0.0', channel: 'stable' });
  const request = await exported(context);
  const { request: anna } = await signedBy('anna', request);
  const [signature] = anna.items[0]!.metadata.signatures;
  const builder = (await ringOf('online').list()).find(key => key.name === 'builder')!;
  const refuses = async (code: string, alter: (request: SigningRequest) => void) => {
    const altered = copyOf(anna);
    alter(altered);
    await assert.rejects(imported(context, altered), { code });
    assert.deepEqual((await withRepository(context, listPending))[0]?.signedBy, []);
  };
  await refuses('E_KEY_NOT_AUTHORIZED', ({ items }) => {
    items[0]!.metadata.signatures = [{ keyid: builder.keyId, sig: signature!.sig }];
  });
  const boris = (await ringOf('boris').list())[0]!;
  await refuses('E_REQUEST_SIGNATURE', ({ items }) => {
    items[0]!.metadata.signatures = [{ keyid: boris.keyId, sig: signature!.sig }];
  });
  await refuses('E_REQUEST_CHANGED', ({ items }) => {
    const { signed } = items[0]!.metadata;
    signed.expires = (signed.expires as string).replace(/^\d{4}/, '2031');
  });
  await refuses('E_REQUEST_INVALID', ({ items }) => items[0]!.metadata.signatures.push(signature!));
});

test('an old request is worth nothing once another version was signed, or the proposal taken back', async () => {
  const context = await elsewhere();
  await promote({ ...context, version: '2.0.0', channel: 'stable' });
  const { request: old } = await signedBy('boris', await exported(context));
  const everybody = { ...context, keys: lab.keys };
  await assert.rejects(promote({ ...context, version: '2.0.0', channel: 'stable', percent: 10 }), {
    code: 'E_PENDING_EXISTS',
  });
  // Enough people together go first: a revocation does not wait for a proposal.
  await resignRole({ ...everybody, role: 'stable' });
  assert.deepEqual(await withRepository(context, listPending), []);
  await assert.rejects(imported(context, old), { code: 'E_REQUEST_SUPERSEDED' });
  await publish(everybody);
  await assert.rejects(imported(context, old), { code: 'E_REQUEST_SUPERSEDED' });
  await promote({ ...context, version: '2.0.0', channel: 'stable' });
  await assert.rejects(imported(context, old), { code: 'E_REQUEST_SUPERSEDED', expected: /version 4/ });
  await withRepository(context, opened => dropPending(opened, 'stable'));
  await promote({ ...context, version: '2.0.0', channel: 'stable', percent: 10 });
  const now = { ...context, clock: { ...systemClock, now: () => Date.now() + 61 * 86_400_000 } };
  const waiting = await exported(context);
  await assert.rejects(imported(now, waiting), { code: 'E_TUF_EXPIRED' });
  assert.match((await signedBy('anna', waiting)).shown, /10 % of the nodes/);
});

test('what was withdrawn while a channel waited for it does not come in by a late signature', async () => {
  const context = await elsewhere();
  await promote({ ...context, version: '2.0.0', channel: 'stable' });
  let request = await exported(context);
  for (const person of ['anna', 'boris']) ({ request } = await signedBy(person, request));
  const path = 'pilot/2.0.0/pilot-2.0.0.tar.gz';
  await withRepository(context, opened => removeTargets(opened, 'releases', [path], { action: 'revoke' }));
  const [late] = await imported(context, request);
  assert.deepEqual([late!.state, late!.missing], ['pending', 0]);
  assert.equal((await withRepository(context, listPending)).length, 1);
  await publish(context);
  assert.equal((await verifyRepository(context)).channels.stable!.version, '1.0.0');
});

test('several roles in one request, signed by different people in any order', async () => {
  await share('root-one', 'root-1', 'manager-1');
  await share('root-two', 'root-2', 'targets-1');
  await share('targets-two', 'targets-2', 'manager-2');
  const context = await elsewhere();
  for (const role of ['root', 'targets', 'stable'] as const) await resignRole({ ...context, role });
  const request = await exported(context);
  assert.deepEqual(
    request.items.map(({ role }) => role),
    ['root', 'targets', 'stable'],
  );
  const one = await signedBy('root-one', request);
  assert.match(one.shown, /root version 2[^]*no change of content/);
  assert.deepEqual(one.signed, [
    { role: 'root', keys: ['root-1'] },
    { role: 'stable', keys: ['manager-1'] },
  ]);
  const two = await signedBy('root-two', one.request); // handed on from one to the other
  const three = await signedBy('targets-two', request); // and another beside them
  const states = async (from: SigningRequest) =>
    Object.fromEntries((await imported(context, from)).map(({ role, state }) => [role, state]));
  assert.deepEqual(await states(three.request), { root: 'pending', targets: 'pending', stable: 'pending' });
  assert.deepEqual(await states(two.request), { root: 'staged', targets: 'staged', stable: 'staged' });
  await publish(context);
  const { roles } = await verifyRepository(context);
  assert.deepEqual([roles.root?.version, roles.targets?.version, roles.stable?.version], [2, 2, 3]);
  const log = await releaseLog(context);
  assert.deepEqual(
    log
      .findLast(({ role }) => role === 'root')
      ?.keys.map(key => key.name)
      .sort(),
    ['root-1', 'root-2'],
  );
});

test('a crash while several roles are staged together leaves none of them or all', async () => {
  const context = await elsewhere();
  for (const role of ['root', 'targets', 'stable'] as const) await resignRole({ ...context, role });
  const request = await exported(context);
  const all = await signRequest({
    request,
    where: 'request',
    keys: lab.keys,
    nowMs: Date.now(),
    confirm: async () => true,
  });
  // A disk that is full from the n-th write on stands for a power cut there.
  for (let writes = 0; ; writes += 1) {
    const copy = join(directory, `cut-${writes}`);
    await cp(context.storage.name, copy, { recursive: true });
    const storage = fileStorage(copy);
    let left = writes;
    const cut = new Error('power cut');
    const torn = {
      ...storage,
      replace: async (path: string, bytes: Uint8Array) => {
        if ((left -= 1) < 0) throw cut;
        await storage.replace(path, bytes);
      },
      remove: async (path: string) => {
        if ((left -= 1) < 0) throw cut;
        await storage.remove(path);
      },
    };
    const survived = await imported({ ...context, storage: torn }, all.request).then(
      () => true,
      (error: unknown) => {
        if (error !== cut) throw error;
        return false;
      },
    );
    const after = { ...context, storage };
    await imported(after, all.request);
    await publish(after);
    const { roles, staged } = await verifyRepository(after);
    assert.deepEqual(
      [roles.root?.version, roles.targets?.version, roles.stable?.version],
      [2, 2, 3],
      `${writes}`,
    );
    assert.deepEqual(staged, []);
    assert.deepEqual(await storage.list(places.pending), []);
    if (survived) break;
    assert.ok(writes < 40, 'it ends');
  }
});

test('at the repository, with one key there, signing and taking over are one step', async () => {
  const context = await elsewhere();
  await promote({ ...context, version: '2.0.0', channel: 'stable' });
  const repo = ['--repo', context.storage.name];
  for (const [person, state] of [
    ['anna', /1 more needed/],
    ['boris', /enough people signed/],
  ] as const) {
    const signing = command(['sign', ...repo, '--keys', join(directory, person), '--yes']);
    assert.match(await done(signing), state);
  }
  const nothing = await command(['sign', ...repo, '--export', join(directory, 'none.json'), '--json']);
  assert.equal(nothing.code, 2);
  assert.equal((JSON.parse(nothing.stderr) as { code: string }).code, 'E_PENDING_MISSING');
  await assert.rejects(readFile(join(directory, 'none.json')));
});

/** Runs a release command on a terminal of its own and types an answer when it asks. */
async function onTerminal(args: string[], answer: string): Promise<{ output: string; code: number | null }> {
  const line = [process.execPath, join(directory, 'release-only.ts'), 'release', ...args].join(' ');
  const child = spawn('script', ['-qec', line, '/dev/null'], {
    env: { PATH: process.env.PATH ?? '', HOME: directory, PILOTAGE_PASSPHRASE_FILE: lab.passphraseFile },
    stdio: ['pipe', 'pipe', 'inherit'],
    timeout: 60_000,
  });
  let output = '';
  let answered = false;
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
    if (answered || !output.includes('[y/N] ')) return;
    answered = true;
    child.stdin.write(answer);
  });
  const code = await new Promise<number | null>(resolve => child.on('close', resolve));
  return { output, code };
}

test('at a terminal a person is asked, and only yes signs', async () => {
  const context = await elsewhere();
  await promote({ ...context, version: '2.0.0', channel: 'stable' });
  const file = join(directory, 'asked.json');
  const request = requestBytes(await exported(context));
  await writeFile(file, request);
  const args = ['sign', file, '--keys', join(directory, 'anna'), '--root', rootFile];
  const no = await onTerminal(args, '\r');
  assert.match(
    no.output,
    /stable: 1\.0\.0 -> 2\.0\.0[^]*To be signed now: stable with manager-1\.[^]*E_ABORTED/,
  );
  assert.equal(no.code, 130);
  assert.ok((await readFile(file)).equals(request));
  const yes = await onTerminal(args, 'y\r');
  assert.equal(yes.code, 0, yes.output);
  assert.equal((await readRequest(file)).items[0]?.metadata.signatures.length, 1);
});
