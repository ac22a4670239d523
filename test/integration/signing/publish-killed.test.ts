import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import { silentLog } from '../../../lib/log.ts';
import { inspectRepository } from '../../../signing/release/repository/inspect-repository.ts';
import { places } from '../../../signing/release/layout.ts';
import { promote } from '../../../signing/release/channels/promote.ts';
import { publish } from '../../../signing/release/repository/publish.ts';
import type { Storage } from '../../../signing/release/storage/storage.ts';
import { keptNode } from '../../lab/kept-node.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import { forEachStorage, testStorage } from '../../lab/storages.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';

const killedRelease = fileURLToPath(new URL('killed-release.ts', import.meta.url));

/** Every file, by path: what a backup of the place holds. */
async function filesOf(storage: Storage, folders: string[]): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for (const folder of folders) {
    for (const path of await storage.listAll(folder)) files.set(path, (await storage.read(path, 64 << 20))!);
  }
  return files;
}

const everything = ['public', 'staged', 'pending'];

forEachStorage(['file tree', 'sqlite', 'postgres'], (backEnd, storageTest) => {
  storageTest(
    'kill -9 at each step of publish: nodes go on, the next publish completes it',
    async ({ open, place: firstPlace }, t) => {
      const directory = await temporaryDirectory(t, 'killed');
      const first = await open();
      const lab = await makeReleaseRepository({ directory, storage: first });
      const { rootJson, arch, context } = lab;
      await cp(await served(firstPlace), join(directory, 'seen'), { recursive: true });
      await lab.addPilot('1.1.0');
      await promote({ ...context, version: '1.1.0', channel: 'stable' });
      await lab.resign('root');
      const before = await filesOf(first, everything);
      const state = (await first.read(places.state, 1 << 20))!;
      const copyOf = async () => {
        const place = await testStorage(backEnd, t);
        const storage = await place.open();
        for (const [path, bytes] of before) await storage.create(path, bytes);
        await storage.replace(places.state, state);
        return { ...place, storage };
      };
      const steps: string[] = [];
      const rehearsal = await copyOf();
      await publish({ ...context, storage: rehearsal.storage, onStep: step => void steps.push(step) });
      assert.ok(steps.includes('write 2.root.json') && steps.includes('write timestamp.json'), steps.join());
      // Every step on files; on databases, where a process costs more, those around the moment of becoming visible.
      const last = { 'file tree': 0, sqlite: -5, postgres: -2 }[
        backEnd as 'file tree' | 'sqlite' | 'postgres'
      ];
      const stops = steps.map((_, index) => index + 1).slice(last);
      for (const stop of stops) {
        const at = `${backEnd}, killed before "${steps[stop - 1]}"`;
        const { place, storage } = await copyOf();
        const child = spawn(
          process.execPath,
          [killedRelease, place, lab.keysDirectory, lab.passphraseFile, `${stop}`],
          { stdio: 'inherit' },
        );
        const [, signal] = (await once(child, 'exit')) as [number | null, string | null];
        assert.equal(signal, 'SIGKILL', at);

        const visible = steps.indexOf('write timestamp.json') < stop - 1 ? '1.1.0' : '1.0.0';
        const url = await serve(place);
        const fresh = keptNode({ storeDirectory: await temporaryDirectory(t), rootJson, arch });
        assert.equal(await fresh(url), visible, at);
        const old = join(directory, `seen-${stop}`);
        await cp(join(directory, 'seen'), old, { recursive: true });
        const known = keptNode({ storeDirectory: old, rootJson, arch });
        assert.equal(await known(url), visible, at);

        const { status, errors } = await inspectRepository({ ...context, storage });
        assert.deepEqual(errors, [], at);
        assert.ok(
          status.problems.some(({ code, fix }) => code === 'staged' && fix === 'pilotage release publish'),
          at,
        );
        await publish({ ...context, storage });
        assert.equal(await fresh(url), '1.1.0', at);
        assert.equal(await known(url), '1.1.0', at);
        const after = await inspectRepository({ ...context, storage });
        assert.deepEqual(after.status.problems, [], at);
        for (const [path, bytes] of before) {
          if (!path.startsWith('public/')) continue;
          const now = (await storage.read(path, 64 << 20))!;
          const isLog = path === places.log;
          if (!path.endsWith('timestamp.json')) {
            assert.ok((isLog ? now.subarray(0, bytes.length) : now).equals(bytes), `${at}: ${path}`);
          }
        }
      }

      async function serve(repository: string): Promise<string> {
        const store = await serveStore({ repository, listen: '127.0.0.1:0', log: silentLog });
        t.after(() => store.close());
        return store.url;
      }

      /** The store of a node that has seen the first release. */
      async function served(repository: string): Promise<string> {
        const storeDirectory = join(directory, 'node');
        assert.equal(await keptNode({ storeDirectory, rootJson, arch })(await serve(repository)), '1.0.0');
        return storeDirectory;
      }
    },
  );
});
