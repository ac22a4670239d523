import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { waitUntil } from '../../unit/autopilot/wait-until.ts';
import { CrashSite, compileCache } from './crash-site.ts';

const entry = fileURLToPath(new URL('./cli-entry.ts', import.meta.url));

interface Said {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs `pilotage autopilot ...` to its end, or to `until` in its output, with SIGTERM then. */
async function pilotage(args: string[], until?: RegExp): Promise<Said> {
  const child = spawn(process.execPath, [entry, 'autopilot', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env.PATH!,
      NODE_COMPILE_CACHE: compileCache,
      PILOTAGE_STORE: join(compileCache, 'node-store'),
      PILOTAGE_LOG: 'warn',
    },
  });
  const said = { stdout: '', stderr: '' };
  child.stdout.on('data', (part: Buffer) => {
    said.stdout += String(part);
    if (until?.test(said.stdout)) child.kill('SIGTERM');
  });
  child.stderr.on('data', (part: Buffer) => {
    said.stderr += String(part);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  assert.doesNotMatch(said.stderr, /^ +at .*:\d+:\d+/m, 'no stack trace meets a user');
  return { code, ...said };
}

async function withSite(body: (site: CrashSite, flags: string[]) => Promise<void>): Promise<void> {
  const site = await CrashSite.create();
  try {
    await mkdir(join(site.pilots, 'first'));
    const root = join(site.directory, 'root.json');
    await writeFile(root, '{"signatures":[{"keyid":"00","sig":"00"}],"signed":{"_type":"root"}}\n');
    const flags = [
      '--queue',
      'test',
      '--server',
      site.server.url,
      '--server-ca',
      join(site.directory, 'ca.pem'),
    ];
    flags.push(
      '--cache',
      'http://127.0.0.1:9/',
      '--root',
      root,
      '--state',
      site.state,
      '--cycle-seconds',
      '0.1',
    );
    await body(site, flags);
  } finally {
    await site.close();
  }
}

describe('pilotage autopilot', { concurrency: 2 }, () => {
  test('run --once says what it did; the pilot meets a cache that is not there, and status tells it', () =>
    withSite(async (site, flags) => {
      site.server.activated = 1;
      const first = await pilotage(['run', ...flags, '--once']);
      assert.equal(first.code, 0, first.stderr);
      const ready = JSON.parse(first.stdout) as { ready: boolean; submitted: number; factory: string };
      assert.deepEqual([ready.ready, ready.submitted], [true, 1]);
      site.server.activated = 0;
      const [submission] = site.server.submissions;
      const status = await waitUntil(async () => {
        await pilotage(['run', ...flags, '--once']);
        const { stdout } = await pilotage(['status', '--state', site.state, '--json']);
        const seen = JSON.parse(stdout) as { counts: Record<string, number>; running: boolean };
        return seen.counts.failed === 1 && seen;
      }, 30_000);
      assert.equal(status.running, false);
      assert.equal(submission!.withdrawn, true);
      const human = await pilotage(['status', '--state', site.state]);
      assert.match(human.stdout, /^queue test, factory ap-[0-9a-z]{26}: not running\npilots: 1 failed\n/);
      assert.match(human.stdout, /failed .* E_[A-Z_]+ /);
    }));

  test('a wait that is no number is refused, not endless', async () => {
    for (const wrong of ['soon', '-1', '']) {
      const { code, stderr } = await pilotage([
        'stop-pilots',
        '--state',
        '/nowhere',
        '--wait-seconds',
        wrong,
      ]);
      assert.notEqual(code, 0);
      assert.match(stderr, /--wait-seconds <n>.*Expected a number of seconds/);
    }
  });

  test('SIGTERM ends the autopilot and not its pilots; stop-pilots ends those', () =>
    withSite(async (site, flags) => {
      site.server.activated = 2;
      site.server.idle = true;
      const child = site.start();
      await waitUntil(() => site.server.countIn('enrolled') === 2);
      const refused = await pilotage(['run', ...flags, '--once']);
      assert.equal(refused.code, 2);
      assert.match(refused.stderr, new RegExp(`E_LEDGER_LOCKED.*process ${child.pid}`));
      assert.match((await pilotage(['stop-pilots', '--state', site.state])).stderr, /E_LEDGER_LOCKED/);
      assert.match(
        (await pilotage(['status', '--state', site.state])).stdout,
        new RegExp(`process ${child.pid}`),
      );
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      assert.deepEqual(await exited, [0, null]);
      const pids = await Promise.all(
        site.server.submissions.map(async ({ id }) =>
          Number(await readFile(join(site.pilots, `${id}.enrolled`), 'utf8')),
        ),
      );
      for (const pid of pids) assert.ok(process.kill(pid, 0), 'the pilot goes on');
      const stopped = await pilotage(['stop-pilots', '--state', site.state, '--json']);
      assert.deepEqual(JSON.parse(stopped.stdout), { asked: 2, left: 0 });
      assert.equal(stopped.code, 0);
      site.server.activated = 0;
      await pilotage(['run', ...flags, '--once']);
      const { stdout } = await pilotage(['status', '--state', site.state]);
      assert.match(stdout, /pilots: 2 cancelled/);
    }));

  test('run keeps going until SIGTERM, prints one ready line and exits 0', () =>
    withSite(async (_site, flags) => {
      const said = await pilotage(['run', ...flags], /"ready":true/);
      assert.equal(said.code, 0, said.stderr);
      assert.equal(said.stdout.trim().split('\n').length, 1);
    }));

  test('--drain asks the pilots to end', () =>
    withSite(async (site, flags) => {
      site.server.activated = 1;
      const said = await pilotage(['run', ...flags, '--drain'], /"ready":true/);
      assert.equal(said.code, 0, said.stderr);
      const stopped = await pilotage(['stop-pilots', '--state', site.state, '--json']);
      assert.deepEqual(JSON.parse(stopped.stdout), { asked: 0, left: 0 });
    }));

  test('--dry-run prints the plan and its reasons', () =>
    withSite(async (site, flags) => {
      site.server.activated = 3;
      const said = await pilotage(['run', ...flags, '--dry-run', '--max-pilots', '2']);
      assert.match(said.stdout, /^would submit 2: demand 3->3 \(.*\); cap 3->2 \(room for 2: .*\); ramp/);
      assert.deepEqual(site.server.submissions, []);
    }));

  test('mistakes are named with their fix, and the documented exit code', () =>
    withSite(async (site, flags) => {
      const without = (flag: string) => flags.toSpliced(flags.indexOf(flag), 2);
      const cases: { args: string[]; code: number; says: RegExp }[] = [
        { args: ['run', ...without('--queue')], code: 2, says: /E_CONFIG_INVALID.*"queue"/ },
        { args: ['run', ...flags, '--max-pilots', 'many'], code: 2, says: /E_CONFIG_INVALID.*"maxPilots"/ },
        { args: ['run', ...flags, '--engine', 'abacus'], code: 2, says: /E_CONFIG_INVALID.*"engine"/ },
        { args: ['run', ...without('--root'), '--root', '/nowhere'], code: 2, says: /E_FILE_MISSING/ },
        { args: ['run', ...flags, '--config', '/nowhere'], code: 2, says: /E_CONFIG_UNREADABLE/ },
        { args: ['run', ...without('--server-ca'), '--server-ca', '/no'], code: 2, says: /E_FILE_MISSING/ },
        {
          args: ['run', ...without('--server'), '--server', 'http://127.0.0.1:9', '--once'],
          code: 4,
          says: /E_UNREACHABLE/,
        },
        { args: ['status', '--state', '/nowhere'], code: 2, says: /E_LEDGER_UNREADABLE[^]*fix:/ },
      ];
      assert.equal(site.server.submissions.length, 0);
      await Promise.all(
        cases.map(async ({ args, code, says }) => {
          const state = join(site.directory, `state-${cases.findIndex(item => item.args === args)}`);
          const said = await pilotage(args.map(arg => (arg === site.state ? state : arg)));
          assert.match(said.stderr, says);
          assert.equal(said.code, code, said.stderr);
        }),
      );
    }));
});
