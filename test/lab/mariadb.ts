import { chown } from 'node:fs/promises';
import { join } from 'node:path';
import { createConnection } from 'mysql2/promise';
import { databaseServer } from './database-server.ts';
import type { DatabaseServer } from './database-server.ts';
import { startDaemon } from './daemon.ts';
import { freePort } from './ports.ts';
import { findProgram, runProgram } from './programs.ts';
import { giveTls } from './server-tls.ts';
import type { ServerTls } from './server-tls.ts';
import { systemUser } from './system-user.ts';
import { makeTemporaryDirectory } from './temporary.ts';

const PACKAGE = 'mariadb-server';
/** Not a secret: the daemon listens on 127.0.0.1 for the time of a test. A password at all, so that logging in is real. */
const PASSWORD = 'pilotage-test-password';

/**
 * A MariaDB of its own on a free port of 127.0.0.1, data in a temporary directory.
 *
 * @param options.tls serves TLS with this certificate too.
 * @throws Error naming what to install when MariaDB is missing.
 */
export async function startMariadb(options: { tls?: ServerTls } = {}): Promise<DatabaseServer> {
  const mariadbd = await findProgram('mariadbd', PACKAGE);
  const install = await findProgram('mariadb-install-db', PACKAGE);
  const user = await systemUser('mysql');
  const { path, remove } = await makeTemporaryDirectory('mariadb');
  try {
    if (user !== undefined) await chown(path, user.uid, user.gid);
    const data = join(path, 'data');
    await runProgram(
      install,
      [
        '--no-defaults',
        `--datadir=${data}`,
        '--skip-test-db',
        '--auth-root-authentication-method=normal',
        ...storage,
      ],
      { cwd: path, user },
    );
    const tls = await giveTls(path, options.tls, user);
    const port = await freePort();
    const socket = join(path, 'socket');
    const urlOf = (database: string) => `mariadb://pilotage:${PASSWORD}@127.0.0.1:${port}/${database}`;
    const launch = () =>
      startDaemon({
        name: 'MariaDB',
        command: mariadbd,
        args: [
          '--no-defaults',
          `--datadir=${data}`,
          `--socket=${socket}`,
          `--pid-file=${join(path, 'pid')}`,
          '--bind-address=127.0.0.1',
          `--port=${port}`,
          '--skip-name-resolve',
          '--skip-log-bin',
          ...storage,
          ...(tls === undefined ? [] : [`--ssl-cert=${tls.certificate}`, `--ssl-key=${tls.key}`]),
        ],
        cwd: path,
        ...(user === undefined ? {} : { user }),
        ready: () => makeUser(socket),
      });
    return await databaseServer({ maintenance: 'mysql', urlOf, launch, remove });
  } catch (error) {
    await remove();
    throw error;
  }
}

/** Small and without fsync: the data need not survive the machine, only kill -9 of the daemon, which it does. */
const storage = [
  '--innodb-buffer-pool-size=32M',
  '--innodb-log-file-size=8M',
  '--innodb-flush-log-at-trx-commit=2',
  '--innodb-flush-method=nosync',
  '--innodb-doublewrite=0',
];

async function makeUser(socketPath: string): Promise<boolean> {
  const root = await createConnection({ socketPath, user: 'root' });
  try {
    await root.query(`create or replace user pilotage@'127.0.0.1' identified by '${PASSWORD}'`);
    await root.query(`grant all on *.* to pilotage@'127.0.0.1' with grant option`);
    return true;
  } finally {
    await root.end();
  }
}
