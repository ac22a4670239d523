import assert from 'node:assert/strict';
import { chmod, chown, cp, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { RefreshDaemon } from '../../../signing/release/refresh/refresh-daemon.ts';
import { fileStorage } from '../../../signing/release/storage/file-storage.ts';
import { silentLog } from '../../../lib/log.ts';
import { releaseCommand } from '../../lab/release-command.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';

const SOMEBODY = 54_321;

/** Mode of every file and directory below, by path. */
async function modes(directory: string): Promise<Record<string, string>> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const found = entries.map(async entry => {
    const path = join(entry.parentPath, entry.name);
    return [path.slice(directory.length + 1), ((await stat(path)).mode & 0o777).toString(8)];
  });
  return Object.fromEntries(await Promise.all(found)) as Record<string, string>;
}

test('what is public can be read by the users of store and daemon, whatever the umask of who publishes', async t => {
  const directory = await temporaryDirectory(t, 'umask');
  const lab = await makeReleaseRepository({ directory });
  await lab.addPilot('1.1.0');
  await lab.promote({ version: '1.1.0', channel: 'stable' });
  const run = await releaseCommand(directory);
  const place = ['--repo', lab.directory];
  const keys = [...place, '--keys', lab.keysDirectory, '--passphrase-file', lab.passphraseFile];
  const www = join(directory, 'www');
  const umask = process.umask(0o077);
  try {
    for (const args of [
      ['publish', ...keys],
      ['export', www, ...place],
    ]) {
      const { code, stderr } = await run(args);
      assert.equal(code, 0, stderr);
    }
  } finally {
    process.umask(umask);
  }
  for (const tree of [lab.publicDirectory, www]) {
    for (const [path, mode] of Object.entries(await modes(tree))) {
      assert.ok(mode === '644' || mode === '755', `${path} has mode ${mode}`);
    }
  }
  assert.equal((await modes(lab.directory)).staged, '700');
});

test(
  'root leaves nothing in a repository of somebody else, which would stop the daemon of that user',
  { skip: process.getuid?.() === 0 ? false : 'only root can try' },
  async t => {
    const directory = await temporaryDirectory(t, 'root');
    const lab = await makeReleaseRepository({ directory });
    const theirs = join(directory, 'theirs');
    await cp(lab.directory, theirs, { recursive: true });
    await chmod(theirs, 0o755);
    await chown(theirs, SOMEBODY, SOMEBODY);
    const before = await readdir(theirs, { recursive: true });
    const run = await releaseCommand(directory);
    for (const command of ['publish', 'resign dev']) {
      const { code, stderr } = await run(
        `${command} --repo ${theirs} --keys ${lab.keysDirectory} --passphrase-file ${lab.passphraseFile}`.split(
          ' ',
        ),
      );
      assert.equal(code, 2);
      assert.match(stderr, /^E_PERMISSION: .*belongs to another user/);
      assert.match(stderr, /sudo -u '#54321'/);
    }
    assert.deepEqual(await readdir(theirs, { recursive: true }), before);
    const context = { ...lab.context, storage: fileStorage(theirs) };
    const daemon = new RefreshDaemon({ context, intervalSeconds: 1800, log: silentLog });
    assert.equal(await daemon.round(), 'failed');
    assert.match(daemon.failure!, /^E_PERMISSION: .*theirs.*sudo -u/);
  },
);
