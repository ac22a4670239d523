import { test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { serveStore } from '../../codecache/origin/serve-store.ts';
import { silentLog } from '../../lib/log.ts';
import { makeGridAuthority } from '../lab/grid-authority.ts';
import { makeReleaseRepository } from '../lab/release-repository.ts';
import { temporaryDirectory } from '../lab/temporary.ts';

const checkout = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

test('docs/how-to/trust-anchors.md: its commands work as they stand', async t => {
  const directory = await temporaryDirectory(t, 'docs-trust');
  const repository = await makeReleaseRepository({ directory });
  const store = await serveStore({
    directory: repository.publicDirectory,
    listen: '127.0.0.1:0',
    log: silentLog,
  });
  t.after(() => store.close());
  const authority = await makeGridAuthority({ directory: join(directory, 'grid-security') });
  await mkdir(join(directory, 'grid-security', 'vomsdir', 'physics'), { recursive: true });
  const lsc = join(directory, 'grid-security', 'vomsdir', 'physics', 'voms.example.org.lsc');
  await writeFile(lsc, '/O=Grid/CN=voms.example.org\n/O=Grid/CN=Lab CA\n');
  await symlink(await authority.issue('host'), join(directory, 'host.pem'));
  await mkdir(join(directory, 'passphrases'), { mode: 0o700 });
  for (const key of ['trust', 'snapshot', 'timestamp']) {
    await writeFile(join(directory, 'passphrases', key), repository.passphrase, { mode: 0o600 });
  }
  await symlink(join(checkout, 'pilotage'), join(directory, 'pilotage'));
  await symlink(repository.keysDirectory, join(directory, 'online'));
  await symlink(join(directory, 'repository'), join(directory, 'repo'));
  await writeFile(join(directory, 'pinned-root.json'), repository.rootJson);
  const page = await readFile(join(checkout, 'docs/how-to/trust-anchors.md'), 'utf8');
  const blocks = [...page.matchAll(/```sh\n(.*?)```/gs)].map(([, text]) => text!);
  assert.equal(blocks.length, 3);
  const script = blocks
    .join('\n')
    .replaceAll('/etc/grid-security', join(directory, 'grid-security'))
    .replaceAll('http://cache.example.org:8091', store.url);
  const { stdout } = await promisify(execFile)('sh', ['-euc', script], { cwd: directory, timeout: 120_000 });
  assert.match(stdout, /^host\.pem: OK$/m);
  assert.match(stdout, /role trust version 2, published/);
});
