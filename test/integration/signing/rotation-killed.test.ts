import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import { systemClock } from '../../../lib/clock.ts';
import { silentLog } from '../../../lib/log.ts';
import { openKeyDirectory } from '../../../signing/keys/key-directory.ts';
import { passphraseSource } from '../../../signing/keys/passphrase.ts';
import { inspectRepository } from '../../../signing/release/repository/inspect-repository.ts';
import { publish } from '../../../signing/release/repository/publish.ts';
import { rotateKey } from '../../../signing/release/repository/rotate-key.ts';
import { fileStorage } from '../../../signing/release/storage/file-storage.ts';
import { keptNode } from '../../lab/kept-node.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';

const killedRelease = fileURLToPath(new URL('killed-release.ts', import.meta.url));

for (const isLost of [false, true]) {
  const which = isLost ? 'a lost timestamp key' : 'the timestamp key';
  test(`kill -9 at each step of publishing a successor of ${which}`, async t => {
    const directory = await temporaryDirectory(t, 'rotation');
    const lab = await makeReleaseRepository({ directory });
    const { rootJson, arch, keysDirectory, passphraseFile, context } = lab;
    await rotateKey({ ...context, roles: ['timestamp'] });
    if (isLost) {
      const old = (await readdir(keysDirectory)).filter(name => name.startsWith('timestamp.'));
      assert.equal(old.length, 1);
      await rm(join(keysDirectory, old[0]!));
    }
    const keys = openKeyDirectory({
      directory: keysDirectory,
      clock: systemClock,
      passphrases: passphraseSource({ file: passphraseFile }),
      scryptN: 1024,
    });
    const copyOf = async (name: string) => {
      const place = join(directory, name);
      await cp(lab.directory, place, { recursive: true });
      return { place, context: { ...context, keys, storage: fileStorage(place) } };
    };
    const steps: string[] = [];
    const rehearsal = await copyOf('rehearsal');
    await publish({ ...rehearsal.context, onStep: step => void steps.push(step) });
    const [root, timestamp] = ['write 2.root.json', 'write timestamp.json'].map(name => steps.indexOf(name));
    assert.equal(root! < timestamp!, isLost, steps.join());
    for (let stop = 1; stop <= steps.length; stop += 1) {
      const at = `killed before "${steps[stop - 1]}"`;
      const copy = await copyOf(`stop-${stop}`);
      const child = spawn(
        process.execPath,
        [killedRelease, copy.place, keysDirectory, passphraseFile, `${stop}`],
        { stdio: 'inherit' },
      );
      const [, signal] = (await once(child, 'exit')) as [number | null, string | null];
      assert.equal(signal, 'SIGKILL', at);
      const store = await serveStore({
        directory: join(copy.place, 'public'),
        listen: '127.0.0.1:0',
        log: silentLog,
      });
      t.after(() => store.close());
      const node = keptNode({ storeDirectory: join(directory, `node-${stop}`), rootJson, arch });
      const { status } = await inspectRepository(copy.context);
      const errors = status.problems.filter(({ severity }) => severity === 'error');
      // With the old key lost nobody can sign a timestamp for both roots: one moment is left, and verify says what ends it.
      const isBetween = isLost && stop === timestamp! + 1;
      if (isBetween) {
        assert.deepEqual(
          errors.map(({ code, fix }) => [code, fix]),
          [['E_TUF_SIGNATURE', 'pilotage release publish']],
        );
      } else {
        assert.deepEqual(errors, [], at);
        assert.equal(await node(store.url), '1.0.0', at);
      }
      await publish(copy.context);
      assert.equal(await node(store.url), '1.0.0', at);
      assert.deepEqual((await inspectRepository(copy.context)).status.problems, [], at);
    }
  });
}
