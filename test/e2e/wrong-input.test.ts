import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { exitCodes } from '../../lib/cli.ts';
import { systemClock } from '../../lib/clock.ts';
import { siteCredentials } from '../../ops/site/credentials.ts';
import type { SiteCredentials } from '../../ops/site/credentials.ts';

const entry = fileURLToPath(new URL('../../pilotage.ts', import.meta.url));
let directory: string;
let taken: Server;
let takenAddress: string;
let credentials: SiteCredentials;
const at = (...parts: string[]) => join(directory, ...parts);

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pilotage-wrong-'));
  credentials = await siteCredentials({
    directory: at('credentials'),
    instance: 'wrong',
    clock: systemClock,
  });
  taken = createServer();
  await new Promise<void>(resolve => {
    taken.listen(0, '127.0.0.1', resolve);
  });
  takenAddress = `127.0.0.1:${(taken.address() as AddressInfo).port}`;
  await mkdir(at('public', 'metadata'), { recursive: true });
  await writeFile(at('passphrase'), 'right\n', { mode: 0o600 });
  await writeFile(at('wrong-passphrase'), 'wrong\n', { mode: 0o600 });
});
after(async () => {
  taken.close();
  await rm(directory, { recursive: true, force: true });
});

/** Runs a command that must be refused, and returns what it said. */
function refused(args: string[], exitCode: number = exitCodes.usage) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [entry, ...args], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.equal(status, exitCode, `${args.join(' ')} ended with ${status}: ${stderr}`);
  assert.equal(stdout, '', 'nothing on standard output');
  assert.doesNotMatch(stderr, /\n\s+at .*[(/]/, `a stack trace: ${stderr}`);
  assert.doesNotMatch(stderr, /E_INTERNAL/, stderr);
  return stderr;
}

/** The message has this code, names this place, and says what to do. */
function assertHelps(message: string, code: string, where: string | RegExp) {
  assert.match(message, new RegExp(`^${code}: .+`, 'm'));
  assert.match(
    message,
    where instanceof RegExp ? where : new RegExp(where.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)),
  );
  assert.match(message, /^ {2}fix: .{5,}/m);
}

const serverConfig = (changes: Record<string, unknown> = {}) => ({
  listen: '127.0.0.1:0',
  instance: 'wrong',
  stateDirectory: directory,
  tls: { certificateFile: credentials.server.certificateFile, keyFile: credentials.server.keyFile },
  trustFile: credentials.caFile,
  pilotAuthority: credentials.pilotAuthority,
  secretKeyFile: credentials.secretKeyFile,
  ...changes,
});

async function writeConfig(name: string, value: unknown): Promise<string> {
  await writeFile(at(name), typeof value === 'string' ? value : stringify(value));
  return at(name);
}

for (const [name, command] of Object.entries({
  store: ['store', 'serve'],
  cache: ['cache', 'serve'],
  server: ['server', 'run'],
  autopilot: ['autopilot', 'run'],
})) {
  test(`${name}: a wrong flag, a missing, unreadable or wrong configuration file`, async () => {
    assert.match(refused([...command, '--colour', 'red']), /unknown option '--colour'/);
    assertHelps(
      refused([...command, '--config', at('nowhere.yaml')]),
      'E_CONFIG_UNREADABLE',
      at('nowhere.yaml'),
    );
    assertHelps(refused([...command, '--config', directory]), 'E_CONFIG_UNREADABLE', directory);
    const broken = await writeConfig(`${name}-broken.yaml`, 'listen: [1,\n');
    assertHelps(refused([...command, '--config', broken]), 'E_CONFIG_UNREADABLE', broken);
    const unknown = await writeConfig(`${name}-unknown.yaml`, 'listenn: 127.0.0.1:1\n');
    const said = refused([...command, '--config', unknown]);
    assertHelps(said, 'E_CONFIG_INVALID', unknown);
    assert.match(said, /Unknown setting "listenn"/);
  });
}

test('a wrong call with --json is one JSON object like every other error', () => {
  for (const [args, message] of [
    [['release', 'nonsense'], /unknown command 'nonsense'/],
    [['release', 'verify'], /required option '-r, --repo <place>' not specified/],
    [
      ['release', 'halt', 'canary', '--repo', at('repo'), '--keys', at('keys'), '--kyes'],
      /Did you mean --keys/,
    ],
    [['release', 'mirror'], /subcommand is missing/],
    [['nonsense'], /unknown command 'nonsense'/],
  ] as const) {
    const said = JSON.parse(refused([...args, '--json'])) as Record<string, string>;
    assert.equal(said.code, 'E_USAGE');
    assert.match(said.message!, message);
    assert.match(said.fix!, /--help/);
  }
  const others = refused(['submit', '--colour', '--', 'true', '--json']);
  assert.match(others, /^E_USAGE: unknown option '--colour'/, 'what stands behind -- is not ours');
});

test('output that nobody reads or that has no room is no stack trace', () => {
  const command = '"$0" "$1" release key list --keys "$2" --json';
  const run = (redirection: string) =>
    spawnSync(
      'bash',
      ['-c', `${command} ${redirection}; exit "\${PIPESTATUS[0]}"`, process.execPath, entry, directory],
      { encoding: 'utf8', timeout: 60_000 },
    );
  const full = run('> /dev/full');
  assert.equal(full.status, exitCodes.failed);
  assert.match(full.stderr, /^E_DISK_FULL: .*\n {2}where: standard output\n/);
  assert.doesNotMatch(full.stderr, /\n\s+at /);
  const closed = run('| true');
  assert.deepEqual([closed.status, closed.stderr], [0, '']);
});

test('a port in use is named, by every program that listens', async () => {
  const config = await writeConfig('server-port.yaml', serverConfig({ listen: takenAddress }));
  assertHelps(refused(['server', 'run', '--config', config]), 'E_PORT_IN_USE', takenAddress);
  assertHelps(
    refused(['store', 'serve', '--dir', at('public'), '--listen', takenAddress]),
    'E_PORT_IN_USE',
    takenAddress,
  );
  assertHelps(
    refused([
      'cache',
      'serve',
      '--upstream',
      'http://127.0.0.1:9',
      '--dir',
      at('cache'),
      '--listen',
      takenAddress,
    ]),
    'E_PORT_IN_USE',
    takenAddress,
  );
  assertHelps(
    refused(['store', 'serve', '--dir', at('public'), '--listen', 'nonsense']),
    'E_USAGE',
    'nonsense',
  );
});

test('server: a missing, damaged or foreign key; a database that is not there', async () => {
  const missing = await writeConfig(
    'server-key.yaml',
    serverConfig({ tls: { certificateFile: credentials.server.certificateFile, keyFile: at('no.key') } }),
  );
  assertHelps(refused(['server', 'run', '--config', missing]), 'E_(KEY|FILE)_MISSING', at('no.key'));
  await writeFile(at('damaged.key'), '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n', {
    mode: 0o600,
  });
  const damaged = await writeConfig(
    'server-damaged.yaml',
    serverConfig({
      pilotAuthority: {
        certificateFile: credentials.pilotAuthority.certificateFile,
        keyFile: at('damaged.key'),
      },
    }),
  );
  assertHelps(refused(['server', 'run', '--config', damaged]), 'E_KEY_UNREADABLE', at('damaged.key'));
  const url = 'postgres://nobody:hunter2@127.0.0.1:1/none';
  const away = await writeConfig('server-database.yaml', serverConfig({ databaseUrl: url }));
  const said = refused(['server', 'run', '--config', away], exitCodes.unreachable);
  assertHelps(said, 'E_DATABASE_UNREACHABLE', '127.0.0.1');
  assert.doesNotMatch(said, /hunter2/, 'a password never reaches a message');
});

test('release: no repository, a wrong passphrase, a missing key, a passphrase file that others can read', async () => {
  const where = ['--repo', at('repo'), '--keys', at('keys')];
  assertHelps(refused(['release', 'publish', ...where]), 'E_REPOSITORY_MISSING', at('repo'));
  const init = spawnSync(
    process.execPath,
    [entry, 'release', 'init', ...where, '--passphrase-file', at('passphrase')],
    { encoding: 'utf8' },
  );
  assert.equal(init.status, 0, init.stderr);
  assertHelps(
    refused(['release', 'refresh', ...where, '--passphrase-file', at('wrong-passphrase')]),
    'E_PASSPHRASE_WRONG',
    at('keys'),
  );
  await chmod(at('wrong-passphrase'), 0o644);
  assertHelps(
    refused(['release', 'refresh', ...where, '--passphrase-file', at('wrong-passphrase')]),
    'E_PASSPHRASE_UNREADABLE',
    at('wrong-passphrase'),
  );
  await rm(at('keys', 'timestamp.key.json'));
  const said = refused(
    ['release', 'refresh', ...where, '--passphrase-file', at('passphrase')],
    exitCodes.refused,
  );
  assert.match(said, /^E_(KEY_MISSING|THRESHOLD_NOT_MET): /);
  assert.match(said, /timestamp/);
});
