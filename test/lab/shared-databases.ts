import type { DatabaseServer } from './database-server.ts';
import { startMariadb } from './mariadb.ts';
import { startPostgres } from './postgres.ts';

/**
 * One PostgreSQL and one MariaDB for a whole run instead of one per test file:
 * `node --test --test-global-setup=test/lab/shared-databases.ts`. Tests that kill a server start their own all the same.
 */
const started: DatabaseServer[] = [];

export async function globalSetup(): Promise<void> {
  const [postgres, mariadb] = await Promise.allSettled([startPostgres(), startMariadb()]);
  for (const [name, server] of [
    ['PILOTAGE_TEST_POSTGRES', postgres],
    ['PILOTAGE_TEST_MARIADB', mariadb],
  ] as const) {
    // One that cannot be started fails the tests that need it, with the reason.
    if (server.status === 'rejected') continue;
    started.push(server.value);
    process.env[name] = server.value.url;
  }
}

export async function globalTeardown(): Promise<void> {
  await Promise.all(started.splice(0).map(server => server.stop()));
}
