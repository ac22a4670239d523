import { test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFile, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { serveStore } from '../../codecache/origin/serve-store.ts';
import { silentLog } from '../../lib/log.ts';
import { startNginxCache } from '../lab/nginx.ts';
import { makeReleaseRepository } from '../lab/release-repository.ts';
import { startSiteSquid } from '../lab/site-squid.ts';
import { temporaryDirectory } from '../lab/temporary.ts';

const checkout = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

test('docs/how-to/behind-squid-or-nginx.md: its commands work as they stand', async t => {
  const directory = await temporaryDirectory(t, 'docs-behind');
  const lab = await makeReleaseRepository({ directory: join(directory, 'lab') });
  await symlink(join(checkout, 'pilotage'), join(directory, 'pilotage'));
  await copyFile(join(lab.publicDirectory, 'metadata/1.root.json'), join(directory, '1.root.json'));
  const store = await serveStore({
    directory: lab.publicDirectory,
    listen: '127.0.0.1:0',
    log: silentLog,
    history: false,
  });
  t.after(() => store.close());
  const squid = await startSiteSquid(t, store.url);
  const nginx = await startNginxCache(t, store.url);
  const page = await readFile(join(checkout, 'docs/how-to/behind-squid-or-nginx.md'), 'utf8');
  const blocks = [...page.matchAll(/```sh\n(.*?)```/gs)].map(([, text]) => text!);
  assert.equal(blocks.length, 5);
  const script = blocks
    .join('\n')
    .replace('http://squid.example.org:3128', squid.url)
    .replace('http://store.example.org:8090', store.url)
    .replace('http://nginx.example.org:8091', nginx.url)
    .replace('/var/log/squid/access.log', squid.accessLog)
    .replace('/var/log/nginx/pilotage-cache.log', nginx.accessLog);
  const { stdout } = await promisify(execFile)('sh', ['-euc', script], {
    cwd: directory,
    timeout: 120_000,
    env: { ...process.env, PILOTAGE_LOG: 'error' },
  });
  assert.equal(stdout.match(/^X-Cache: HIT/gim)?.length, 2, stdout);
  assert.match(stdout, /^403$/m);
  assert.ok(stdout.includes(`verified through ${squid.url}>${store.url}\n`));
  assert.ok(stdout.includes(`verified through ${nginx.url}\n`));
  assert.equal(stdout.match(/^byte hit ratio \d+\.\d\d %$/gm)?.length, 2, stdout);
});
