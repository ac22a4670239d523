import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  fakeNode,
  makePilotTarball,
  makeReleaseRepository,
  makeTarball,
  type ReleaseRepositoryLab,
} from '../../lab/release-repository.ts';

const program = fileURLToPath(new URL('../../../pilotage.ts', import.meta.url));
const commands = fileURLToPath(new URL('../../../signing/release/cli/register.ts', import.meta.url));
const commander = import.meta.resolve('commander');
let directory: string;
let lab: ReleaseRepositoryLab;

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

function run(script: string, args: string[], env: Record<string, string> = {}): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, ...args], {
      env: { PATH: process.env.PATH ?? '', HOME: directory, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 60_000,
    });
    const ended: Ended = { code: null, stdout: '', stderr: '' };
    child.stdout.on('data', (chunk: Buffer) => (ended.stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (ended.stderr += chunk.toString()));
    child.on('error', reject);
    child.on('close', code => resolve({ ...ended, code }));
  });
}

/** The whole program, as people start it. */
const pilotage = (args: string[], env?: Record<string, string>) => run(program, args, env);

/** The release commands alone: the whole program takes several times as long to load. */
const releaseOnly = (args: string[], env?: Record<string, string>) =>
  run(join(directory, 'release-only.ts'), args, env);

/** The command fails with this exit code; nobody meets a stack trace; the error is one JSON object that says what to do. */
async function refused(
  args: string[],
  code: number,
  parts: Record<string, string | RegExp>,
  env?: Record<string, string>,
): Promise<void> {
  const ended = await releaseOnly(['release', ...args, '--json'], env);
  assert.equal(ended.code, code, args.join(' ') + ended.stderr);
  assert.equal(ended.stdout, '');
  assert.doesNotMatch(ended.stderr, /\n\s+at /);
  const error = JSON.parse(ended.stderr) as Record<string, string>;
  for (const [name, wanted] of Object.entries(parts)) {
    if (wanted instanceof RegExp) assert.match(error[name] ?? '', wanted);
    else assert.equal(error[name], wanted);
  }
  assert.ok(error.fix, 'says what to do');
}

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pilotage-release-cli-'));
  lab = await makeReleaseRepository({ directory: join(directory, 'lab') });
  await writeFile(
    join(directory, 'release-only.ts'),
    `import { Command } from ${JSON.stringify(commander)};
     import { registerRelease } from ${JSON.stringify(commands)};
     const program = new Command('pilotage').option('--json');
     registerRelease(program);
     await program.parseAsync();`,
  );
});
after(() => rm(directory, { recursive: true, force: true }));

const labArgs = (keys = lab.keysDirectory) => [
  '--repo',
  lab.directory,
  '--keys',
  keys,
  '--passphrase-file',
  lab.passphraseFile,
];

test('init, add, runtime, promote, publish, verify and log work one after the other', async () => {
  const repo = join(directory, 'repo');
  const passphrases = join(directory, 'passphrase');
  await writeFile(passphrases, 'open sesame\n', { mode: 0o600 });
  await writeFile(join(directory, 'release.yaml'), 'scryptN: 32768\n');
  const env = { PILOTAGE_PASSPHRASE_FILE: passphrases };
  const target = ['--repo', repo, '--keys', join(directory, 'keys')];
  const json = async <T>(...args: string[]): Promise<T> => {
    const ended = await releaseOnly(['release', ...args, ...target, '--json'], env);
    assert.equal(ended.code, 0, ended.stderr);
    return JSON.parse(ended.stdout) as T;
  };
  const made = await pilotage(
    ['release', 'init', ...target, '--config', join(directory, 'release.yaml')],
    env,
  );
  assert.equal(made.code, 0, made.stderr);
  assert.match(made.stdout, /root to pin:.*1\.root\.json/);
  const runtime = await makeTarball({
    file: join(directory, 'node.tar.gz'),
    files: { 'bin/node': fakeNode },
    executables: ['bin/node'],
  });
  const tarball = await makePilotTarball({ directory, version: '1.0.0' });
  assert.equal((await json<{ added: boolean }>('add', tarball)).added, true);
  await json('runtime', runtime, '--node-version', '26.10.0', '--arch', 'linux-x64');
  await json('promote', '1.0.0', 'canary');
  const promoted = await json<{ serial: number; version: string }>('promote', 'canary', 'stable');
  assert.deepEqual([promoted.serial, promoted.version], [1, '1.0.0']);
  await json('queue', 'CERN', 'canary');
  assert.equal((await json<{ files: string[] }>('publish')).files.at(-1), 'timestamp.json');
  const status = await pilotage(['release', 'verify', '--repo', repo, '--json']);
  assert.equal(status.code, 0, status.stderr);
  assert.deepEqual((JSON.parse(status.stdout) as { channels: object }).channels, {
    stable: { version: '1.0.0', serial: 1 },
    canary: { version: '1.0.0', serial: 1 },
  });
  const log = await releaseOnly(['release', 'log', '--repo', repo]);
  assert.equal(log.code, 0);
  assert.match(log.stdout, /promote stable v2 by manager-1\+manager-2 .*pilot=1\.0\.0 serial=1/);
  assert.equal((await readdir(join(repo, 'incoming'))).length, 0, 'nothing is left behind');
});

test('a rollout is begun, halted, taken up and withdrawn; history and diff tell of it', async () => {
  const args = labArgs();
  const say = async (...command: string[]): Promise<string> => {
    const ended = await releaseOnly(['release', ...command]);
    assert.equal(ended.code, 0, ended.stderr);
    return ended.stdout.trimEnd();
  };
  const source = join(directory, 'source');
  await mkdir(source);
  const git = (...words: string[]) =>
    execFileSync('git', ['-C', source, '-c', 'user.name=A', '-c', 'user.email=a@lab', ...words]);
  git('init', '--quiet');
  await writeFile(join(source, 'pilot.mjs'), 'process.exitCode = 0;\n');
  git('add', '--all');
  git('commit', '--quiet', '--message', 'first');
  git('tag', 'v2.0.0');
  assert.match(
    await say('add', '--git', source, '--tag', 'v2.0.0', ...args),
    /commit [0-9a-f]{40}\) into releases/,
  );
  const rollout = ['--percent', '10', '--site', 'CERN', '--site', 'DESY', '--min-version', '1.0.0'];
  assert.match(
    await say('promote', '2.0.0', 'canary', ...rollout, '--not-before', '2033-05-18T03:33:20Z', ...args),
    /\(serial 2\): until 2033-05-18T03:33:20\.000Z every node starts 1\.0\.0; then 10 % of the nodes at CERN, DESY start/,
  );
  assert.match(await say('halt', 'canary', ...args), /every node starts 1\.0\.0.*release publish/);
  assert.match(await say('halt', 'canary', ...args), /is halted already .*nothing was signed/);
  assert.match(await say('resume', 'canary', '--percent', '20', ...args), /20 % of the nodes/);
  assert.match(
    await say('channels', '--repo', lab.directory),
    /^canary: until .*\n {2}current 2\.0\.0 with Node 26\.10\.0, previous 1\.0\.0, serial 4\n {2}rollout 20 % at CERN DESY, min_version 1\.0\.0\n {2}not before 2033.*\n {2}signed, not yet public/m,
  );
  assert.match(
    await say('diff', '1.0.0', '2.0.0', '--text', '--repo', lab.directory),
    /commit: lab -> [0-9a-f]{40}\n[^]*~ pilot\.mjs\n[^]*^\+process\.exitCode = 0;$/m,
  );
  assert.match(
    await say('revoke', '2.0.0', '--kill', ...args),
    /^2\.0\.0 is withdrawn, out of releases:\n {2}stable: every node starts 1\.0\.0\n {2}canary: every node starts 1\.0\.0\n/,
  );
  assert.match(await say('revoke', '2.0.0', '--kill', ...args), /\(as before\)[^]*nothing was signed/);
  assert.match(
    await say('history', '--repo', lab.directory),
    /^2\.0\.0 {2}commit [0-9a-f]{40} {2}signed .* by builder \(\S+\), not public yet\n {2}withdrawn .* by /m,
  );
  await Promise.all([
    refused(['resume', 'canary', '--percent', '50', ...args], 2, { code: 'E_USAGE' }),
    refused(['revoke', '9.9.9', ...args], 2, { code: 'E_VERSION_UNKNOWN' }),
    refused(['add', ...args], 2, { code: 'E_USAGE', expected: /--git DIR --tag TAG/ }),
    refused(['add', 'x.tar.gz', '--tag', 'v1', ...args], 2, {
      code: 'E_USAGE',
      message: /"tag" goes with --git/,
    }),
    refused(['add', '--git', source, '--tag', 'v9.9.9', ...args], 2, { code: 'E_TAG_UNKNOWN' }),
    refused(['add', '--git', source, '--tag', 'v2.0.0', ...args], 2, { code: 'E_VERSION_REVOKED' }),
    refused(['diff', '1.0.0', '9.9.9', '--repo', lab.directory], 2, { code: 'E_VERSION_UNKNOWN' }),
  ]);
  for (const wrong of [
    ['--percent', '101'],
    ['--not-before', 'tomorrow'],
  ]) {
    const ended = await releaseOnly(['release', 'promote', '1.0.0', 'dev', ...wrong, ...args]);
    assert.match(ended.stderr, /It is a/);
  }
  // What comes next in this file is about a repository with nothing staged.
  await lab.publish();
});

test('below the threshold nothing is signed', async () => {
  const few = join(directory, 'few-keys');
  await mkdir(few);
  await cp(join(lab.keysDirectory, 'manager-3.key.json'), join(few, 'manager-3.key.json'));
  const queue = ['queue', 'Q', 'dev', ...labArgs()];
  const code = 'E_THRESHOLD_NOT_MET';
  await Promise.all([
    refused([...queue, '--key', 'manager-1'], 3, {
      code,
      expected: '2 of manager-1, manager-2, manager-3',
      found: 'manager-1',
    }),
    refused([...queue, '--key', 'manager-1', '--key', 'manager-1'], 3, { code }),
    refused(['resign', 'stable', ...labArgs(few)], 3, { code, found: 'manager-3' }),
    refused([...queue, '--key', 'builder', '--key', 'manager-1'], 2, { code: 'E_KEY_NOT_AUTHORIZED' }),
    refused([...queue, '--key', 'nobody'], 2, { code: 'E_KEY_MISSING' }),
  ]);
  assert.deepEqual(await readdir(join(lab.directory, 'staged')), []);
});

test('a wrong, missing or exposed passphrase is named with its key file; a passphrase directory goes first', async () => {
  const wrong = join(directory, 'wrong');
  await writeFile(wrong, 'open barley\n', { mode: 0o600 });
  const exposed = join(directory, 'exposed');
  await writeFile(exposed, 'open sesame\n', { mode: 0o644 });
  const own = join(directory, 'own-passphrases');
  await mkdir(own);
  await writeFile(join(own, 'timestamp'), lab.passphrase, { mode: 0o600 });
  const base = ['refresh', '--repo', lab.directory, '--keys', lab.keysDirectory];
  const where = join(lab.keysDirectory, 'timestamp.key.json');
  await Promise.all([
    refused([...base, '--passphrase-file', wrong], 2, { code: 'E_PASSPHRASE_WRONG', where }),
    refused(base, 2, { code: 'E_PASSPHRASE_WRONG', where }, { PILOTAGE_PASSPHRASE_FILE: wrong }),
    refused(base, 2, { code: 'E_PASSPHRASE_MISSING', where }),
    refused([...base, '--passphrase-file', exposed], 2, { code: 'E_PASSPHRASE_UNREADABLE', where: exposed }),
  ]);
  const log = join(lab.publicDirectory, 'log.jsonl');
  const before = (await stat(log)).size;
  const ended = await releaseOnly(['release', ...base, '--passphrase-dir', own, '--passphrase-file', wrong]);
  assert.equal(ended.code, 0, ended.stderr);
  assert.ok((await stat(log)).size > before);
});

test('missing repositories, keys, files and versions, and second inits are refused with words', async () => {
  const nowhere = join(directory, 'nowhere');
  const elsewhere = ['--keys', lab.keysDirectory, '--passphrase-file', lab.passphraseFile];
  const bare = await lab.promote({ version: lab.pilotVersion, channel: 'canary' });
  assert.equal(bare.promoted, false);
  await Promise.all([
    refused(['publish', '--repo', nowhere, ...elsewhere], 2, {
      code: 'E_REPOSITORY_MISSING',
      where: nowhere,
    }),
    refused(['verify', '--repo', nowhere], 2, { code: 'E_REPOSITORY_MISSING', where: nowhere }),
    refused(['init', ...labArgs()], 2, { code: 'E_REPOSITORY_EXISTS', where: lab.directory }),
    refused(['refresh', ...labArgs(nowhere)], 2, { code: 'E_KEY_MISSING', where: nowhere }),
    refused(['add', join(directory, 'no.tar.gz'), ...labArgs()], 2, {
      code: 'E_FILE_MISSING',
      where: join(directory, 'no.tar.gz'),
    }),
    refused(['promote', '9.9.9', 'stable', ...labArgs()], 2, {
      code: 'E_VERSION_UNKNOWN',
      expected: /1\.0\.0/,
    }),
    refused(['promote', '1.0.0', 'stabel', ...labArgs()], 2, { code: 'E_CHANNEL_UNKNOWN', fix: /"stable"/ }),
    refused(['queue', 'bad name', 'stable', ...labArgs()], 2, { code: 'E_QUEUE_INVALID' }),
    refused(['resign', 'timestamp', ...labArgs()], 2, { code: 'E_USAGE' }),
  ]);
  await assert.rejects(stat(nowhere), 'nothing was made');
});

test('a tarball that is no pilot, and the same version with other bytes, are refused', async () => {
  const empty = await makeTarball({ file: join(directory, 'empty.tar.gz'), files: { 'readme.txt': 'x' } });
  const nameless = await makeTarball({
    file: join(directory, 'nameless.tar.gz'),
    files: { 'pilot.mjs': '', 'manifest.json': '{"name":"x"}' },
  });
  const plainNode = await makeTarball({ file: join(directory, 'plain.tar.gz'), files: { 'bin/node': 'x' } });
  const other = await makePilotTarball({
    directory: join(directory, 'other'),
    version: lab.pilotVersion,
    files: { 'pilot.mjs': 'other' },
  });
  const runtime = ['runtime', plainNode, '--arch', 'linux-x64', ...labArgs()];
  const code = 'E_TARBALL_INVALID';
  await Promise.all([
    refused(['add', empty, ...labArgs()], 2, { code, where: empty, found: 'readme.txt' }),
    refused(['add', nameless, ...labArgs()], 2, { code, message: /version/ }),
    refused([...runtime, '--node-version', '26.9.0'], 2, { code, message: /executable/ }),
    refused([...runtime, '--node-version', '../26'], 2, { code: 'E_VERSION_INVALID', found: '../26' }),
    refused(['add', other, ...labArgs()], 2, {
      code: 'E_VERSION_EXISTS',
      where: 'pilot/1.0.0/pilot-1.0.0.tar.gz',
    }),
  ]);
});

test('a configuration with a wrong setting is refused by name, before any key is made', async () => {
  const wrong = join(directory, 'wrong.yaml');
  const unknown = join(directory, 'unknown.yaml');
  await writeFile(wrong, 'root:\n  keys: 1\n  threshold: 2\n');
  await writeFile(unknown, 'rot: {}\n');
  const keys = join(directory, 'fresh-keys');
  const args = [
    'init',
    '--repo',
    join(directory, 'fresh'),
    '--keys',
    keys,
    '--passphrase-file',
    lab.passphraseFile,
  ];
  await Promise.all([
    refused([...args, '--config', wrong], 2, { code: 'E_CONFIG_INVALID', message: /root/, where: wrong }),
    refused([...args, '--config', unknown], 2, { code: 'E_CONFIG_INVALID', fix: /"root"/ }),
  ]);
  await assert.rejects(stat(keys));
});

test('usage errors, refusals and help of the whole program', async () => {
  const [missing, nowhere, help] = await Promise.all([
    pilotage(['release', 'publish']),
    pilotage(['release', 'verify', '--repo', join(directory, 'nowhere')]),
    pilotage(['release', '--help']),
  ]);
  assert.equal(missing.code, 2);
  assert.match(missing.stderr, /--repo/);
  assert.equal(nowhere.code, 2);
  assert.match(nowhere.stderr, /^E_REPOSITORY_MISSING: .*\n {2}where: .*nowhere\n {2}fix: .*release init/);
  assert.equal(help.code, 0);
  const names =
    'init add runtime promote halt resume revoke channels queue history diff publish refresh log verify';
  for (const name of names.split(' ')) {
    assert.match(help.stdout, new RegExp(`^  ${name} `, 'm'));
  }
});
