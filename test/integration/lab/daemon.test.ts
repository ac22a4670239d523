import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { startDaemon } from '../../lab/daemon.ts';
import { findProgram } from '../../lab/programs.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';
import { waitUntil } from '../../lab/wait-until.ts';

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

const node = (script: string) => ({ name: 'a script', command: process.execPath, args: ['-e', script] });

test('a daemon is ready when it says so, keeps its output and stops when asked', async () => {
  const daemon = await startDaemon({
    ...node(
      `process.on('SIGTERM', () => { console.error('bye'); process.exit(0) }); console.log('up'); setInterval(() => {}, 1000)`,
    ),
    ready: ({ stdout }) => stdout().includes('up'),
  });
  assert.ok(isAlive(daemon.pid));
  await daemon.stop();
  assert.deepEqual(await daemon.exited, { code: 0, signal: null });
  assert.equal(daemon.stderr(), 'bye\n');
  await daemon.stop();
});

test('one that does not stop is killed', async () => {
  const daemon = await startDaemon({
    ...node(`process.on('SIGTERM', () => {}); console.log('up'); setInterval(() => {}, 1000)`),
    ready: ({ stdout }) => stdout().includes('up'),
    stopSeconds: 0.1,
  });
  await daemon.stop();
  assert.deepEqual(await daemon.exited, { code: null, signal: 'SIGKILL' });
});

test('one that ends or never becomes ready fails with what it said, and is gone', async () => {
  await assert.rejects(
    startDaemon({ ...node(`console.error('no such option'); process.exit(3)`), ready: () => false }),
    /ended instead of becoming ready\n[^]*no such option/,
  );
  let pid = 0;
  const never = startDaemon({
    ...node(`setInterval(() => {}, 1000)`),
    ready: daemon => {
      pid = daemon.pid;
      return false;
    },
    readySeconds: 0.2,
  });
  await assert.rejects(never, /gave up after 0.2 s waiting until a script is ready/);
  assert.ok(pid > 0 && !isAlive(pid));
  await assert.rejects(
    startDaemon({ name: 'nothing', command: '/nonexistent/program', args: [], ready: () => false }),
    /nothing/,
  );
});

test('a daemon does not outlive a test process that is killed', async t => {
  const lab = new URL('../../lab/daemon.ts', import.meta.url).href;
  const script = `
    const { startDaemon } = await import(${JSON.stringify(lab)});
    const daemon = await startDaemon({ name: 'child', command: process.execPath,
      args: ['-e', "console.log('up'); setInterval(() => {}, 1000)"], ready: ({ stdout }) => stdout().includes('up') });
    console.log(daemon.pid);
    setInterval(() => {}, 1000);`;
  const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  parent.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
  const pid = Number(await waitUntil('the child is up', () => /^(\d+)\n/.exec(said)?.[1]));
  assert.ok(isAlive(pid));
  t.after(() => {
    if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  });
  parent.kill('SIGKILL');
  await once(parent, 'exit');
  await waitUntil('the child is gone', () => !isAlive(pid));
});

test('a missing program is an error that says what to install', async () => {
  await assert.rejects(findProgram('no-such-program', 'its-package'), /install\.sh[^]*its-package/);
});

test('install.sh --check lists what is missing and exits 1, or says nothing and exits 0', async t => {
  const script = new URL('../../lab/install.sh', import.meta.url).pathname;
  const check = async (path: string) => {
    const child = spawn('/bin/sh', [script, '--check'], {
      env: { PATH: path },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const [code] = (await once(child, 'close')) as [number];
    return { code, stderr };
  };
  assert.deepEqual(await check(process.env.PATH!), { code: 0, stderr: '' });
  const directory = await temporaryDirectory(t);
  for (const program of ['sort', 'ls', 'id', 'cat'])
    await symlink(`/usr/bin/${program}`, join(directory, program));
  const { code, stderr } = await check(directory);
  assert.equal(code, 1);
  assert.match(stderr, /Missing for the tests:[^]*curl[^]*openssl[^]*apt-get install/);
});
