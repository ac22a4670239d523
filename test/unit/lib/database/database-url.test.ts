import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { formatError } from '../../../../lib/errors.ts';
import { parseDatabaseUrl } from '../../../../lib/database/database-url.ts';
import { databaseUnreachable } from '../../../../lib/database/unreachable.ts';
import { temporaryDirectory } from '../../../lab/temporary.ts';

test('the three forms', async () => {
  assert.deepEqual(await parseDatabaseUrl('sqlite:data/x.db'), {
    dialect: 'sqlite',
    path: 'data/x.db',
    label: 'sqlite:data/x.db',
  });
  assert.deepEqual(await parseDatabaseUrl('sqlite:///var/x.db'), {
    dialect: 'sqlite',
    path: '/var/x.db',
    label: 'sqlite:/var/x.db',
  });
  assert.deepEqual(await parseDatabaseUrl('postgres://me:p%40ss@db.example/pilotage'), {
    dialect: 'postgres',
    host: 'db.example',
    port: 5432,
    user: 'me',
    password: 'p@ss',
    database: 'pilotage',
    label: 'postgres://db.example/pilotage',
  });
  assert.deepEqual(await parseDatabaseUrl('mariadb://me@db.example:3307/pilotage?tls=verify'), {
    dialect: 'mariadb',
    host: 'db.example',
    port: 3307,
    user: 'me',
    database: 'pilotage',
    tls: {},
    label: 'mariadb://db.example:3307/pilotage',
  });
});

test('the password, the authority and the socket can come from files', async t => {
  const directory = await temporaryDirectory(t);
  const [password, ca] = [join(directory, 'password'), join(directory, 'ca.pem')];
  await writeFile(password, 'from a file\n', { mode: 0o600 });
  await writeFile(ca, 'PEM');
  const url = await parseDatabaseUrl(
    `postgres://me@db/pilotage?passwordFile=${password}&ca=${ca}&socket=/run/postgresql`,
  );
  assert.ok(url.dialect === 'postgres');
  assert.deepEqual([url.password, url.tls, url.socket], ['from a file', { ca: 'PEM' }, '/run/postgresql']);
  await assert.rejects(parseDatabaseUrl('postgres://me@db/x?passwordFile=/nonexistent/file'), error => {
    assert.match(formatError(error), /^E_FILE_MISSING: [^]*\/nonexistent\/file/);
    return true;
  });
});

for (const [address, part] of [
  ['', 'not a URL'],
  ['/some/path.db', 'not a URL'],
  ['sqlite:', 'names no file'],
  ['sqlite://host/x.db', 'names no file'],
  ['oracle://me@db/x', 'oracle:'],
  ['postgres://me@db/', 'names no database'],
  ['postgres://db/x', 'names no user'],
  ['postgres://me@db/a/b', 'names no database'],
  ['mariadb://me@db/x?sslmode=off', 'sslmode'],
  ['mariadb://me@db/x?tls=off', 'tls'],
  ['mariadb://me@127.0.0.1/x?tls=verify', 'host name only'],
  ['mariadb://me@[::1]/x?tls=verify', 'host name only'],
  ['mariadb://me:%E0%A4%A@db/x', 'percent-escape'],
] as const) {
  test(`refused with words: ${address}`, async () => {
    await assert.rejects(parseDatabaseUrl(address), error => {
      const text = formatError(error);
      assert.ok(text.startsWith('E_DATABASE_URL: ') && text.includes(part) && text.includes('fix: '), text);
      return true;
    });
  });
}

test('no password ever reaches a message', async () => {
  const password = fc.stringMatching(/^[A-Za-z0-9]{12,20}$/);
  const tail = fc.constantFrom(
    'db/x',
    'db/',
    'db/a/b',
    'db:1/x?no=1',
    '/',
    'db/x?tls=off',
    'db:99999/x',
    'db/%E0',
  );
  const scheme = fc.constantFrom('postgres', 'mariadb', 'oracle');
  await fc.assert(
    fc.asyncProperty(scheme, password, tail, async (name, secret, rest) => {
      const outcome = await parseDatabaseUrl(`${name}://me:${secret}@${rest}`).then(
        url => formatError(databaseUnreachable(url, new Error(`login with ${secret} failed`))) + url.label,
        error => formatError(error),
      );
      assert.ok(!outcome.includes(secret), outcome);
    }),
  );
});
