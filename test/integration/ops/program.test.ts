import { test } from 'node:test';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import assert from 'node:assert/strict';
import { mkdtemp, mkdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PilotageError } from '../../../lib/errors.ts';
import { startProgram } from '../../../ops/program.ts';
import { startSupervised } from '../../../ops/supervised-program.ts';
import { freePort } from '../../lab/ports.ts';
import { waitUntil } from '../../lab/wait-until.ts';

async function scratch(t: { after(fn: () => Promise<void>): void }): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'pilotage-program-'));
  await mkdir(join(directory, 'public', 'metadata'), { recursive: true });
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

const store = (directory: string, listen: string) => ({
  name: 'store',
  args: ['store', 'serve', '--dir', join(directory, 'public'), '--listen', listen],
  logFile: join(directory, 'store.log'),
});

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

test('a program is ready when it says so, and ends when told', async t => {
  const directory = await scratch(t);
  const exits: unknown[] = [];
  const program = await startProgram({
    ...store(directory, '127.0.0.1:0'),
    onExit: code => exits.push(code),
  });
  assert.match(program.ready.url!, /^http:\/\/127\.0\.0\.1:\d+$/);
  assert.ok(isAlive(program.pid));
  await program.stop();
  assert.ok(!isAlive(program.pid));
  assert.deepEqual(exits, [], 'an end on request is not reported');
});

test('a program that cannot start is reported with what it said, which is in its log as well', async t => {
  const directory = await scratch(t);
  await assert.rejects(startProgram(store(directory, 'nonsense')), (error: PilotageError) => {
    assert.equal(error.code, 'E_PROGRAM_FAILED');
    assert.match(error.message, /exit code 2[^]*E_USAGE/);
    return true;
  });
  await waitUntil('its log is in the file', async () =>
    (await readFile(join(directory, 'store.log'), 'utf8')).startsWith('E_USAGE'),
  );
});

test('a program does not outlive whoever started it, even by kill -9', async t => {
  const directory = await scratch(t);
  const script = `
    import { startProgram } from ${JSON.stringify(new URL('../../../ops/program.ts', import.meta.url).href)};
    const program = await startProgram(${JSON.stringify(store(directory, '127.0.0.1:0'))});
    console.log(program.pid);`;
  const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let pid = 0;
  for await (const line of createInterface({ input: parent.stdout })) {
    pid = Number(line);
    break;
  }
  assert.ok(isAlive(pid));
  parent.kill('SIGKILL');
  await waitUntil('the program has ended', () => !isAlive(pid), { seconds: 20 });
});

test('a supervised program that is killed comes back at the same address, until it is stopped', async t => {
  const directory = await scratch(t);
  const reasons: string[] = [];
  const program = await startSupervised({
    ...store(directory, `127.0.0.1:${await freePort()}`),
    onRestart: reason => reasons.push(reason),
  });
  const { url } = program.ready;
  const first = program.pid;
  process.kill(first, 'SIGKILL');
  await waitUntil('it is back', () => program.pid !== first, { seconds: 20 });
  assert.equal(program.ready.url, url);
  assert.deepEqual(reasons, ['SIGKILL']);
  const second = program.pid;
  await program.stop();
  assert.ok(!isAlive(second));
  assert.equal(reasons.length, 1, 'a stop is no reason to restart');
});

test('a supervised program that cannot come back is tried by one loop, however often it fails', async t => {
  const directory = await scratch(t);
  const reasons: string[] = [];
  let moved = 0;
  const clock = {
    now: Date.now,
    monotonic: () => moved,
    sleep: async (milliseconds: number, signal?: AbortSignal) => {
      signal?.throwIfAborted();
      moved += milliseconds;
    },
  };
  const program = await startSupervised({
    ...store(directory, `127.0.0.1:${await freePort()}`),
    clock,
    onRestart: reason => reasons.push(reason),
  });
  // The store cannot start without its directory; what is there instead stands for anything that keeps it down.
  await rm(join(directory, 'public'), { recursive: true });
  const first = program.pid;
  process.kill(first, 'SIGKILL');
  await waitUntil('it has failed twice', () => reasons.length >= 3, { seconds: 20 });
  await mkdir(join(directory, 'public', 'metadata'), { recursive: true });
  await waitUntil('it is back', () => program.pid !== first, { seconds: 20 });
  await program.stop();
  assert.equal(reasons[0], 'SIGKILL');
  assert.deepEqual(
    reasons.slice(1).filter(reason => !reason.includes('before it was ready')),
    [],
    'an end before it was ready is told once, by the loop that started it',
  );
});
