import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exitCodeOf, exitCodes } from '../../../lib/cli.ts';
import { PilotageError, formatError, fromSystemError } from '../../../lib/errors.ts';
import { errorTable } from '../../../lib/error-table.ts';

const launcher = fileURLToPath(new URL('../../../pilotage', import.meta.url));
const run = (args: string[], options: { cwd?: string; command?: string } = {}) =>
  spawnSync(options.command ?? launcher, args, { encoding: 'utf8', cwd: options.cwd });

test('exit codes follow from the error', () => {
  const code = (name: string) => exitCodeOf(new PilotageError({ code: name, message: 'x' }));
  assert.equal(code('E_CONFIG_INVALID'), exitCodes.usage);
  assert.equal(code('E_PASSPHRASE_WRONG'), exitCodes.usage);
  assert.equal(code('E_TARGET_HASH'), exitCodes.refused);
  assert.equal(code('E_CHANNEL_FLOOR'), exitCodes.refused);
  assert.equal(code('E_CHANNEL_UNKNOWN'), exitCodes.usage);
  assert.equal(code('E_UNREACHABLE'), exitCodes.unreachable);
  assert.equal(code('E_ABORTED'), exitCodes.interrupted);
  assert.equal(exitCodeOf(new Error('defect')), exitCodes.failed);
  for (const name of Object.keys(errorTable)) assert.ok(code(name) > 0, name);
});

test('a message has code, what, where and fix, and never a stack', () => {
  const text = formatError(
    fromSystemError(Object.assign(new Error('x'), { code: 'EADDRINUSE' }), '127.0.0.1:1'),
  );
  assert.match(text, /^E_PORT_IN_USE: /);
  assert.match(text, /where: 127\.0\.0\.1:1/);
  assert.match(text, /fix: /);
  assert.doesNotMatch(formatError(new Error('boom')), /\n\s+at /);
});

test('the launcher works from another directory and through a symbolic link', () => {
  const directory = mkdtempSync(join(tmpdir(), 'pilotage-launcher-'));
  try {
    symlinkSync(launcher, join(directory, 'first'));
    symlinkSync('first', join(directory, 'pilotage'));
    const { stdout, status, stderr } = run(['--version'], {
      cwd: directory,
      command: join(directory, 'pilotage'),
    });
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^\d+\.\d+\.\d+/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('wrong commands and flags are refused with words and exit code 2', () => {
  for (const args of [
    ['nonsense'],
    ['status', '--colour'],
    ['submit', '--wall', 'soon', '--', 'true'],
    ['status', '--site', '/nonexistent'],
  ]) {
    const { status, stdout, stderr } = run(args);
    assert.equal(status, exitCodes.usage, `${args.join(' ')}: ${stderr}`);
    assert.equal(stdout, '');
    assert.match(stderr, /^E_[A-Z_]+: /);
    assert.doesNotMatch(stderr, /\n\s+at /, 'no stack trace');
  }
});

test('errors are JSON with --json', () => {
  const { stderr, status } = run(['status', '--json', '--site', '/nonexistent']);
  assert.equal(status, exitCodes.usage);
  assert.equal((JSON.parse(stderr) as { code: string }).code, 'E_SITE_MISSING');
});

test('every command is found, has help, and stands in the list of all', () => {
  assert.ok(existsSync(launcher));
  const listed = [...run(['--help']).stdout.matchAll(/^ {2}([a-z]+)\b/gm)].map(([, name]) => name!);
  const commands = listed.filter(name => name !== 'help');
  for (const name of [
    'demo',
    'up',
    'submit',
    'release',
    'store',
    'cache',
    'server',
    'db',
    'autopilot',
    'agent',
    'cert',
  ]) {
    assert.ok(commands.includes(name), name);
  }
  for (const name of commands) {
    const { status, stdout } = run([name, '--help']);
    assert.equal(status, 0, name);
    assert.match(stdout, new RegExp(`^Usage: pilotage ${name}`), `${name} is in the table of pilotage.ts`);
  }
});

test('.ci/run runs the test command that the README names', () => {
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  assert.match(readFileSync(join(root, 'README.md'), 'utf8'), /^npm test$/m);
  assert.match(readFileSync(join(root, '.ci/run'), 'utf8'), /^npm test$/m);
});
