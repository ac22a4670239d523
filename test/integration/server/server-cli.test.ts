import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, test } from 'node:test';
import { stringify } from 'yaml';
import { openDatabase } from '../../../lib/database/open-database.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';
import { job, startTlsSite } from './tls-site.ts';

const entry = new URL('../../../pilotage.ts', import.meta.url).pathname;

async function pilotage(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [entry, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', data => (stdout += String(data)));
  child.stderr.on('data', data => (stderr += String(data)));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

describe('pilotage server and pilotage db', () => {
  test('runs until SIGTERM, survives kill -9, and keeps what it accepted', async t => {
    const site = await startTlsSite(t);
    await site.server.close();
    const file = join(site.directory, 'server.yaml');
    await writeFile(file, stringify(site.settings));
    const start = async () => {
      const child = spawn(process.execPath, [entry, 'server', 'run', '--config', file], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      t.after(() => void child.kill('SIGKILL'));
      const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
      return { child, ready: JSON.parse(line) as { ready: boolean; program: string; url: string } };
    };
    const first = await start();
    assert.deepEqual([first.ready.ready, first.ready.program], [true, 'server']);
    const { jobs } = await site.client(site.users.alice, first.ready.url).call('submit', { body: job() });
    first.child.kill('SIGKILL');
    await once(first.child, 'exit');
    const second = await start();
    const listed = await site.client(site.users.alice, second.ready.url).call('listJobs');
    assert.deepEqual(
      listed.jobs.map(({ jobId }) => jobId),
      [jobs[0]!.jobId],
    );
    second.child.kill('SIGTERM');
    const [code] = (await once(second.child, 'exit')) as [number];
    assert.equal(code, 0);
  });

  test('whatever is wrong at the start is named, with the fix and without a stack trace', async t => {
    const site = await startTlsSite(t);
    const file = join(site.directory, 'server.yaml');
    const refused = async (settings: object, ...args: string[]) => {
      await writeFile(file, stringify({ ...site.settings, ...settings }));
      const { code, stdout, stderr } = await pilotage('server', 'run', '--config', file, ...args);
      const text = stderr
        .split('\n')
        .filter(line => !line.startsWith('{') && !line.startsWith('('))
        .join('\n');
      assert.ok(!text.includes('    at '), stderr);
      assert.equal(stdout, '');
      return `${code} ${text}`;
    };
    assert.match(await refused({ leaseSecond: 3 }), /^2 E_CONFIG_INVALID[\s\S]*"leaseSeconds"/);
    assert.match(await refused({ instance: 'with space' }), /^2 E_CONFIG_INVALID[\s\S]*instance/);
    const [queue] = site.settings.queues!;
    for (const [settings, named] of [
      [{ leaseSeconds: 60, heartbeatSeconds: 60 }, 'heartbeatSeconds'],
      [{ pilotLeaseSeconds: 4 }, 'pilotLeaseSeconds'],
      [{ pandaIds: { first: 9, last: 8 } }, 'pandaIds.last'],
      [{ queues: [queue, { ...queue, vo: 'biology' }] }, 'queues'],
    ] as const) {
      assert.match(await refused(settings), new RegExp(`^2 E_CONFIG_INVALID[\\s\\S]*${named}`));
    }
    assert.match(await refused({ secretKeyFile: '/nowhere/key' }), /^2 E_FILE_MISSING[\s\S]*\/nowhere\/key/);
    assert.match(await refused({ databaseUrl: 'oracle:x' }), /^2 E_DATABASE_URL/);
    const { port } = new URL(site.server.url);
    assert.match(
      await refused({}, '--listen', `127.0.0.1:${port}`),
      new RegExp(`^2 E_PORT_IN_USE[\\s\\S]*127.0.0.1:${port}[\\s\\S]*fix:`),
    );
    assert.match(await refused({}, '--listen', 'nonsense'), /^2 E_USAGE[\s\S]*HOST:PORT/);
    assert.match(await refused({ instance: 'other' }), /^2 E_INSTANCE_MISMATCH/);
    const database = await openDatabase<{ schema_migration: { id: string; checksum: string } }>(
      `sqlite:${join(site.directory, 'server.sqlite')}`,
    );
    await database.db.updateTable('schema_migration').set({ checksum: 'changed' }).execute();
    await database.close();
    assert.match(await refused({}), /^\d E_MIGRATION_CHANGED/);
    await chmod(site.settings.secretKeyFile, 0o644);
    assert.match(await refused({}), /^2 E_PERMISSION[\s\S]*chmod 600/);
    assert.match(
      await refused({ tls: { ...site.settings.tls, keyFile: site.settings.pilotAuthority.keyFile } }),
      /^2 E_KEY_UNREADABLE[\s\S]*tls.keyFile/,
    );
    const missing = await pilotage('server', 'run', '--config', '/nowhere.yaml');
    assert.match(missing.stderr, /^E_CONFIG_UNREADABLE[\s\S]*\/nowhere.yaml/);
  });

  test('init makes the secret key once; db migrate, plan and owners tell of the schema', async t => {
    const directory = await temporaryDirectory(t, 'server-cli');
    const first = await pilotage('server', 'init', '--dir', directory, '--json');
    const { secretKeyFile } = JSON.parse(first.stdout) as { secretKeyFile: string };
    assert.match(await readFile(secretKeyFile, 'utf8'), /^[0-9a-f]{64}\n$/);
    assert.equal((await stat(secretKeyFile)).mode & 0o777, 0o600);
    assert.match((await pilotage('server', 'init', '--dir', directory)).stderr, /^E_FILE_EXISTS/);
    const url = `sqlite:${join(directory, 'x.sqlite')}`;
    const plan = await pilotage('db', 'plan', '--database', url, '--json');
    assert.deepEqual((JSON.parse(plan.stdout) as { missing: string[] }).missing, [
      '0001-first-schema',
      '0002-release-state',
      '0003-server-version',
    ]);
    const applied = await pilotage('db', 'migrate', '--database', url);
    assert.match(applied.stdout, /applied: 0001-first-schema/);
    assert.match((await pilotage('db', 'migrate', '--database', url)).stdout, /Nothing to do/);
    const owners = await pilotage('db', 'owners', '--json');
    const rows = JSON.parse(owners.stdout) as { table: string; owner: string }[];
    assert.ok(rows.some(({ table, owner }) => table === 'job' && owner === 'server'));
  });
});
