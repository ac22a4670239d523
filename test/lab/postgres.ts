import { chown, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import { databaseServer } from './database-server.ts';
import type { DatabaseServer } from './database-server.ts';
import { startDaemon } from './daemon.ts';
import { freePort } from './ports.ts';
import { findProgram, runProgram } from './programs.ts';
import { giveTls } from './server-tls.ts';
import type { ServerTls } from './server-tls.ts';
import { systemUser } from './system-user.ts';
import { makeTemporaryDirectory } from './temporary.ts';

const PACKAGE = 'postgresql';
/** Not a secret: the daemon listens on 127.0.0.1 for the time of a test. A password at all, so that logging in is real. */
const PASSWORD = 'pilotage-test-password';

/**
 * A PostgreSQL of its own on a free port of 127.0.0.1, data in a temporary directory.
 *
 * @param options.tls serves TLS with this certificate too.
 * @throws Error naming what to install when PostgreSQL is missing.
 */
export async function startPostgres(options: { tls?: ServerTls } = {}): Promise<DatabaseServer> {
  const postgres = await findProgram('postgres', PACKAGE);
  const initdb = await findProgram('initdb', PACKAGE);
  const user = await systemUser('postgres');
  const { path, remove } = await makeTemporaryDirectory('postgres');
  try {
    if (user !== undefined) await chown(path, user.uid, user.gid);
    const passwordFile = join(path, 'password');
    await writeFile(passwordFile, PASSWORD, { mode: 0o600 });
    if (user !== undefined) await chown(passwordFile, user.uid, user.gid);
    const data = join(path, 'data');
    await mkdir(data, { mode: 0o700 });
    if (user !== undefined) await chown(data, user.uid, user.gid);
    await runProgram(
      initdb,
      [
        '--pgdata',
        data,
        '--username',
        'pilotage',
        '--pwfile',
        passwordFile,
        '--auth',
        'scram-sha-256',
        '--encoding',
        'UTF8',
        '--locale',
        'C.UTF-8',
        '--no-sync',
      ],
      { cwd: path, user },
    );
    const tls = await giveTls(path, options.tls, user);
    const port = await freePort();
    const urlOf = (database: string) => `postgres://pilotage:${PASSWORD}@127.0.0.1:${port}/${database}`;
    const launch = () =>
      startDaemon({
        name: 'PostgreSQL',
        command: postgres,
        args: ['-D', data, '-p', `${port}`, '-h', '127.0.0.1', ...settings, ...tlsSettings(tls)],
        cwd: path,
        ...(user === undefined ? {} : { user }),
        // "fast": breaks connections off, then ends cleanly.
        stopSignal: 'SIGINT',
        ready: () => answers(urlOf('postgres')),
      });
    return await databaseServer({ maintenance: 'postgres', urlOf, launch, remove });
  } catch (error) {
    await remove();
    throw error;
  }
}

/** No fsync: the data need not survive the machine, only kill -9 of the daemon, which it does. */
const settings = Object.entries({
  unix_socket_directories: '',
  fsync: 'off',
  full_page_writes: 'off',
  shared_buffers: '16MB',
  max_connections: '100',
  max_wal_size: '64MB',
  autovacuum: 'off',
  dynamic_shared_memory_type: 'mmap',
}).flatMap(([name, value]) => ['-c', `${name}=${value}`]);

const tlsSettings = (tls: ServerTls | undefined): string[] =>
  tls === undefined
    ? []
    : ['-c', 'ssl=on', '-c', `ssl_cert_file=${tls.certificate}`, '-c', `ssl_key_file=${tls.key}`];

async function answers(url: string): Promise<boolean> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 2000 });
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query('select 1');
    return true;
  } finally {
    await client.end();
  }
}
