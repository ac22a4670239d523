import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import { get, temporaryDirectory } from './web.ts';

const program = fileURLToPath(new URL('../../../pilotage.ts', import.meta.url));

interface Running {
  url: string;
  end(): Promise<number | null>;
}

/** Starts a serving command and waits for its ready line. */
function serve(t: TestContext, args: string[]): Promise<Running> {
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>(resolve => child.on('exit', resolve));
  t.after(() => child.kill('SIGKILL'));
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout.on('data', chunk => {
      text += String(chunk);
      if (!text.includes('\n')) return;
      const { ready, url } = JSON.parse(text) as { ready: boolean; url: string };
      assert.equal(ready, true);
      const end = () => {
        child.kill('SIGTERM');
        return ended;
      };
      resolve({ url, end });
    });
    let errors = '';
    child.stderr.on('data', chunk => (errors += String(chunk)));
    void ended.then(code => reject(new Error(`ended with ${code}: ${errors}`)));
  });
}

const run = (...args: string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' });
  return { status, stdout, stderr };
};

test('store, cache, fetch and stats work together from the command line', async t => {
  const directory = await temporaryDirectory(t);
  const lab = await makeReleaseRepository({ directory });
  const root = join(directory, 'root.json');
  await writeFile(root, lab.rootJson);
  const store = await serve(t, ['store', 'serve', '--dir', lab.publicDirectory, '--listen', '127.0.0.1:0']);
  const cache = await serve(t, [
    'cache',
    'serve',
    '--upstream',
    store.url,
    '--dir',
    join(directory, 'cache'),
    '--listen',
    '127.0.0.1:0',
  ]);
  assert.equal((await get(`${store.url}/livez`)).status, 200);
  assert.equal((await get(`${cache.url}/livez`)).status, 200);
  const args = [
    'cache',
    'fetch',
    '--root',
    root,
    '--cache',
    cache.url,
    '--queue',
    'Q',
    '--store',
    join(directory, 'node'),
  ];
  const fetched = run(...args, '--json');
  assert.equal(fetched.status, 0, fetched.stderr);
  const { release, pilotDirectory } = JSON.parse(fetched.stdout) as {
    release: { version: string };
    pilotDirectory: string;
  };
  assert.equal(release.version, '1.0.0');
  assert.ok(pilotDirectory.startsWith(directory));
  const stats = run('cache', 'stats', '--url', cache.url, '--json');
  const counted = JSON.parse(stats.stdout) as {
    hits: number;
    joined: number;
    misses: number;
    upstreams: { url: string; blamed: number }[];
  };
  // The cache may have what a timestamp leads to before the client asks for it.
  assert.ok(counted.misses >= 3, 'timestamp, pilot, runtime');
  assert.ok(counted.misses + counted.hits + counted.joined >= 8);
  assert.deepEqual(
    counted.upstreams.map(({ url, blamed }) => ({ url, blamed })),
    [{ url: store.url, blamed: 0 }],
  );
  assert.match(run('cache', 'stats', '--url', cache.url).stdout, /hits \d+, joined/);
  assert.equal(await cache.end(), 0);
  assert.equal(await store.end(), 0);
  const local = run(...args, '--json');
  assert.match(local.stdout, /"cache":"local"/, 'all is there, and was checked a moment ago');
  const cold = [...args.slice(0, -1), join(directory, 'cold')];
  const gone = run(...cold, '--patience-seconds', '0');
  assert.equal(gone.status, 4);
  assert.match(gone.stderr, /E_CACHE_UNREACHABLE/);
});

test('wrong use is answered with what, where and the fix, without a stack trace', async t => {
  const directory = await temporaryDirectory(t);
  const cases: [string[], number, RegExp][] = [
    [['store', 'serve'], 2, /E_CONFIG_INVALID.*Nothing says what to serve/],
    [['store', 'serve', '--dir', directory], 2, /E_FILE_MISSING.*no published repository/],
    [
      ['store', 'serve', '--dir', directory, '--config', join(directory, 'none.yaml')],
      2,
      /E_CONFIG_UNREADABLE/,
    ],
    [['cache', 'serve', '--dir', directory], 2, /E_CONFIG_INVALID.*"upstreams" is needed/],
    [['cache', 'serve', '--dir', directory, '--upstream', 'ftp://x'], 2, /E_CONFIG_INVALID.*http: or https:/],
    [
      ['cache', 'serve', '--dir', directory, '--upstream', 'http://x', '--listen', 'nowhere'],
      2,
      /E_USAGE.*listen/,
    ],
    [['cache', 'stats', '--url', 'http://127.0.0.1:1'], 4, /E_UNREACHABLE/],
    [
      [
        'cache',
        'fetch',
        '--root',
        join(directory, 'none'),
        '--cache',
        'http://x',
        '--queue',
        'Q',
        '--store',
        directory,
      ],
      2,
      /E_FILE_MISSING/,
    ],
  ];
  for (const [args, status, message] of cases) {
    const done = run(...args);
    assert.equal(done.status, status, `${args.join(' ')}: ${done.stderr}`);
    assert.match(done.stderr.replaceAll('\n', ' '), message);
    assert.match(done.stderr, /\n {2}fix: /);
    assert.doesNotMatch(done.stderr, /\n\s+at /);
  }
});
