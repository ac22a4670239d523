import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { KnownKey } from '../../../signing/keys/signer.ts';
import { releaseCommand, type Ended } from '../../lab/release-command.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';

let directory: string;
let keys: string;
let remove: () => Promise<void>;
let run: (...args: string[]) => Promise<Ended>;

before(async () => {
  ({ path: directory, remove } = await makeTemporaryDirectory('key-cli'));
  keys = join(directory, 'keys');
  const passphraseFile = join(directory, 'passphrase');
  await writeFile(passphraseFile, 'open sesame\n', { mode: 0o600 });
  const command = await releaseCommand(directory);
  run = (...args) =>
    command(['key', ...args, '--keys', keys, '--json'], { PILOTAGE_PASSPHRASE_FILE: passphraseFile });
});
after(() => remove());

async function json<T>(ended: Promise<Ended>): Promise<T> {
  const { code, stdout, stderr } = await ended;
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as T;
}

async function refused(ended: Promise<Ended>, exitCode: number, code: string, found?: RegExp): Promise<void> {
  const { code: exit, stdout, stderr } = await ended;
  assert.equal(exit, exitCode, stderr);
  assert.equal(stdout, '');
  const error = JSON.parse(stderr) as Record<string, string>;
  assert.equal(error.code, code);
  assert.ok(error.fix);
  if (found) assert.match(stderr, found);
}

test('keys of every kind are made, listed and handed over; a public part cannot sign', async () => {
  const anna = await json<KnownKey>(run('new', 'anna'));
  const boris = await json<KnownKey>(run('new', 'boris', '--scheme', 'ed25519'));
  const pem = join(directory, 'service.pem');
  const publicPem = join(directory, 'service-public.pem');
  execFileSync('openssl', ['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', pem]);
  execFileSync('openssl', ['pkey', '-in', pem, '-pubout', '-out', publicPem], { stdio: 'pipe' });
  const words = ['--', 'openssl', 'dgst', '-sha256', '-sign', pem];
  const command = await releaseCommand(directory);
  const service = ['key', 'new', 'service', '--keys', keys, '--public', publicPem, '--json'];
  await json(command([...service, '--timeout', '20', '--env', 'A=b=c', ...words]));
  const recorded = JSON.parse(await readFile(join(keys, 'service.key.json'), 'utf8')) as { signer: object };
  assert.deepEqual(recorded.signer, {
    command: words.slice(1),
    encoding: 'raw',
    timeoutSeconds: 20,
    environment: { A: 'b=c' },
  });
  const other = join(directory, 'other-keys');
  await mkdir(other);
  await json(run('export', 'anna', '--out', other));
  const handedOver = await readFile(join(other, 'anna.pub.json'), 'utf8');
  assert.deepEqual(JSON.parse(handedOver), {
    schema: 1,
    name: 'anna',
    keyId: anna.keyId,
    public: anna.public,
  });
  await writeFile(join(keys, 'carla.pub.json'), handedOver.replace('"anna"', '"carla"'));
  const list = await json<KnownKey[]>(run('list'));
  assert.deepEqual(
    list.map(({ name, public: { scheme }, canSign }) => [name, scheme, canSign]),
    [
      ['anna', 'ecdsa-sha2-nistp256', true],
      ['boris', 'ed25519', true],
      ['carla', 'ecdsa-sha2-nistp256', false],
      ['service', 'ecdsa-sha2-nistp256', true],
    ],
  );
  assert.equal(list[1]!.keyId, boris.keyId);
  assert.equal((await stat(join(keys, 'service.key.json'))).mode & 0o777, 0o600);
});

test('what is wrong with a new key is said before anything is written', async () => {
  await json(run('new', 'taken'));
  const command = await releaseCommand(directory);
  const made = ['key', 'new', 'bad', '--keys', keys, '--json'];
  await Promise.all([
    refused(run('new', 'taken'), 2, 'E_KEY_EXISTS'),
    refused(run('new', 'Not A Name'), 2, 'E_USAGE', /lower-case/),
    refused(run('new', 'bad', '--public', 'x.pem'), 2, 'E_USAGE', /after --/),
    refused(command([...made, '--', 'true']), 2, 'E_USAGE', /--public/),
    refused(
      command([...made, '--public', join(keys, 'taken.key.json'), '--', 'true']),
      2,
      'E_KEY_UNREADABLE',
    ),
    refused(run('export', 'nobody', '--out', directory), 2, 'E_KEY_MISSING', /taken/),
  ]);
  await assert.rejects(stat(join(keys, 'bad.key.json')));
});

test('a passphrase is changed, and only who knows the old one can do it', async () => {
  await json(run('new', 'moving'));
  const next = join(directory, 'next');
  await writeFile(next, 'open barley\n', { mode: 0o600 });
  // The environment's file holds the present passphrase, and is not taken for the new one.
  await refused(run('change-passphrase', 'moving'), 2, 'E_USAGE');
  await json(run('change-passphrase', 'moving', '--new-passphrase-file', next));
  const again = run('change-passphrase', 'moving', '--new-passphrase-file', next);
  await refused(again, 2, 'E_PASSPHRASE_WRONG');
  await json(run('change-passphrase', 'moving', '--passphrase-file', next, '--new-passphrase-file', next));
});
