import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { sql } from 'kysely';
import { formatError } from '../../../lib/errors.ts';
import { openDatabase } from '../../../lib/database/open-database.ts';
import { testDatabase } from '../../lab/databases.ts';
import { startMariadb } from '../../lab/mariadb.ts';
import { startPostgres } from '../../lab/postgres.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';

const run = promisify(execFile);

/** A self-signed certificate, which is its own authority. */
async function certificate(directory: string, name: string, subjectAltName: string) {
  const files = { certificate: join(directory, `${name}.pem`), key: join(directory, `${name}.key`) };
  await run('openssl', [
    ...'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj'.split(' '),
    `/CN=${name}`,
    '-addext',
    `subjectAltName=${subjectAltName}`,
    '-keyout',
    files.key,
    '-out',
    files.certificate,
  ]);
  return files;
}

for (const [dialect, start, question] of [
  [
    'postgres',
    startPostgres,
    sql<{ on: number }>`select count(*) as "on" from pg_stat_ssl where ssl and pid = pg_backend_pid()`,
  ],
  [
    'mariadb',
    startMariadb,
    sql<{
      on: number;
    }>`select count(*) as \`on\` from information_schema.session_status where variable_name = 'SSL_VERSION' and variable_value like 'TLS%'`,
  ],
] as const) {
  const byName = (url: string) => url.replace('127.0.0.1', 'localhost');

  test(`${dialect} over TLS: verified, or not at all`, async t => {
    const directory = await temporaryDirectory(t, 'tls');
    const tls = await certificate(directory, 'server', 'DNS:localhost,IP:127.0.0.1');
    const other = await certificate(directory, 'other', 'DNS:localhost,IP:127.0.0.1');
    const server = await start({ tls });
    t.after(server.stop);
    const database = await openDatabase(`${byName(server.url)}?ca=${tls.certificate}`);
    t.after(database.close);
    assert.deepEqual((await question.execute(database.db)).rows, [{ on: 1 }]);
    for (const parameters of [`ca=${other.certificate}`, 'tls=verify']) {
      await assert.rejects(openDatabase(`${byName(server.url)}?${parameters}`), error => {
        const text = formatError(error);
        assert.match(text, /^E_DATABASE_UNREACHABLE: [^]*certificate/);
        return true;
      });
    }
  });

  test(`${dialect} without TLS, or under another name, is refused when TLS is asked for`, async t => {
    const directory = await temporaryDirectory(t, 'tls');
    const named = await certificate(directory, 'elsewhere', 'DNS:db.example');
    const plain = await testDatabase(dialect, t);
    await assert.rejects(openDatabase(`${byName(plain.url)}?ca=${named.certificate}`), error => {
      assert.match(formatError(error), /^E_DATABASE_UNREACHABLE: /);
      return true;
    });
    const server = await start({ tls: named });
    t.after(server.stop);
    await assert.rejects(openDatabase(`${byName(server.url)}?ca=${named.certificate}`), error => {
      assert.match(formatError(error), /^E_DATABASE_UNREACHABLE: [^]*(altnames|does not match|IP)/);
      return true;
    });
  });
}
