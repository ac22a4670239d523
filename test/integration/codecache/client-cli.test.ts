import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { flip, readTree, serveTree } from './forgery.ts';
import type { Tree } from './forgery.ts';
import { temporaryDirectory } from './web.ts';

const program = fileURLToPath(new URL('../../../pilotage.ts', import.meta.url));

let lab: ReleaseRepositoryLab;
let tree: Tree;
let root: string;
const home = await makeTemporaryDirectory('client-cli');
after(home.remove);
before(async () => {
  lab = await makeReleaseRepository({ directory: home.path });
  tree = await readTree(lab.publicDirectory);
  root = join(home.path, 'root.json');
  await writeFile(root, lab.rootJson);
});

interface Done {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** The caches are in this process, so it must not be blocked meanwhile. */
const run = (...args: string[]): Promise<Done> =>
  new Promise(resolve => {
    const child = spawn(process.execPath, [program, 'cache', ...args], {
      env: { ...process.env, PILOTAGE_LOG: 'error' },
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', chunk => (stdout += String(chunk)));
    child.stderr.on('data', chunk => (stderr += String(chunk)));
    child.on('close', status => resolve({ status, stdout, stderr }));
  });

const fetchInto = (store: string, caches: string[], ...more: string[]) =>
  run(
    'fetch',
    '--root',
    root,
    '--queue',
    'Q',
    '--store',
    store,
    '--patience-seconds',
    '0',
    ...caches.flatMap(cache => ['--cache', cache]),
    ...more,
  );

test('fetch takes groups, names who lied, and says by its exit code what happened', async t => {
  const honest = await serveTree(t, () => tree);
  const path = [...tree.keys()].find(path => /pilot-1/.test(path))!;
  const liar = await serveTree(t, () => flip(tree, path, 3));
  const gone = await serveTree(t, () => tree);
  await gone.close();
  const store = join(await temporaryDirectory(t), 'store');

  const forged = await fetchInto(store, [`${gone.url}|${liar.url}`]);
  assert.equal(forged.status, 3, forged.stderr);
  assert.match(forged.stderr, /^E_TARGET_HASH: /);
  assert.ok(
    forged.stderr.includes(`refused: ${liar.url} (E_TARGET_HASH ${liar.url}/${path})`),
    forged.stderr,
  );
  const asJson = await fetchInto(store, [liar.url], '--json');
  assert.deepEqual((JSON.parse(asJson.stderr) as { refusals: unknown }).refusals, [
    { cache: liar.url, code: 'E_TARGET_HASH', where: `${liar.url}/${path}` },
  ]);

  const fetched = await fetchInto(
    store,
    [`${gone.url}|${liar.url}`, honest.url],
    '--site',
    'S',
    '--node',
    'n1',
  );
  assert.equal(fetched.status, 0, fetched.stderr);
  assert.match(fetched.stdout, /^pilot 1\.0\.0, sha256 /);
  assert.ok(fetched.stdout.includes(`verified through ${honest.url}`), fetched.stdout);
  assert.ok(fetched.stdout.includes(`refused: ${liar.url} `), fetched.stdout);

  const [pin] = await readdir(join(store, 'metadata'));
  await rm(join(store, 'metadata', pin!, 'checked'));
  assert.equal((await fetchInto(store, [gone.url])).status, 4, 'kept and valid, but not checked');
  const offline = await fetchInto(store, [gone.url], '--offline-grace-seconds', '60');
  assert.equal(offline.status, 0, offline.stderr);
  assert.match(offline.stdout, /^not checked for \d{1,3} s, .*E_CACHE_UNREACHABLE/m);

  const cold = join(await temporaryDirectory(t), 'store');
  const unreachable = await fetchInto(cold, [gone.url]);
  assert.equal(unreachable.status, 4);
  assert.match(unreachable.stderr, /^E_CACHE_UNREACHABLE: /);
  const direct = await fetchInto(cold, ['http://a|DIRECT']);
  assert.equal(direct.status, 2);
  assert.match(direct.stderr, /with \| between those of one group/);
});

test('list shows what is kept and why, prune makes room, and both refuse what is no store', async t => {
  const origin = await serveTree(t, () => tree);
  const store = join(await temporaryDirectory(t), 'store');
  const fetched = await fetchInto(store, [origin.url], '--json');
  const { release } = JSON.parse(fetched.stdout) as { release: { sha256: string } };
  const listed = await run('list', '--store', store);
  assert.match(listed.stdout, new RegExp(`unpacked/${release.sha256}  .*named by a channel`));
  const old = '0'.repeat(64);
  await writeFile(join(store, 'objects', old), 'x'.repeat(5000));
  await utimes(join(store, 'objects', old), 0, 0);
  const entries = JSON.parse((await run('list', '--store', store, '--json')).stdout) as {
    path: string;
    keptBecause: string | null;
  }[];
  assert.equal(entries.find(({ path }) => path.endsWith(old))?.keptBecause, null);
  const pruned = await run('prune', '--store', store, '--max-bytes', '0', '--json');
  assert.equal(pruned.status, 0, pruned.stderr);
  const { removed } = JSON.parse(pruned.stdout) as { removed: { path: string }[] };
  assert.deepEqual(
    removed.map(({ path }) => path),
    [`objects/${old}`],
  );
  assert.ok(!(await readdir(join(store, 'objects'))).includes(old));
  assert.match((await run('prune', '--store', store)).stdout, /^0 removed, /);
  const missing = await run('list', '--store', join(store, 'none'));
  assert.deepEqual([missing.status, missing.stderr.split(':')[0]], [2, 'E_FILE_MISSING']);
  const wrong = await run('prune', '--store', store, '--max-bytes', 'much');
  assert.equal(wrong.status, 2);
});
