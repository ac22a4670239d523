import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { access, chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { before, after, test } from 'node:test';
import { addRelease } from '../../../signing/release/builds/add-release.ts';
import { describeRelease } from '../../../signing/release/history/describe-release.ts';
import { addFromGit } from '../../../signing/release/builds/add-from-git.ts';
import { targetPlace } from '../../../signing/release/layout.ts';
import { everReleased, releaseHistory } from '../../../signing/release/history/release-history.ts';
import { releaseDiff } from '../../../signing/release/history/release-diff.ts';
import { sha256Of } from '../../../signing/release/metadata/role-metadata.ts';
import { openRepository } from '../../../signing/release/repository/repository.ts';
import { revoke } from '../../../signing/release/channels/revoke.ts';
import { releaseLog } from '../../../signing/release/repository/verify-repository.ts';
import {
  makePilotTarball,
  makeReleaseRepository,
  type ReleaseRepositoryLab,
} from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';

let directory: string;
let lab: ReleaseRepositoryLab;
let remove: () => Promise<void>;
before(async () => {
  ({ path: directory, remove } = await makeTemporaryDirectory('git'));
  lab = await makeReleaseRepository({ directory });
});
after(() => remove());

interface Checkout {
  directory: string;
  git(...args: string[]): string;
  /** Writes files and commits them. */
  commit(files: Record<string, string>): Promise<string>;
}

let made = 0;
async function checkout(files: Record<string, string>): Promise<Checkout> {
  const root = join(directory, `source-${(made += 1)}`);
  await mkdir(root);
  const git = (...args: string[]) =>
    execFileSync('git', args, {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env.PATH,
        HOME: directory,
        GIT_AUTHOR_DATE: '2026-11-01T10:00:00Z',
        GIT_COMMITTER_DATE: '2026-11-01T12:00:00+02:00',
        GIT_AUTHOR_NAME: 'Ann',
        GIT_AUTHOR_EMAIL: 'ann@lab',
        GIT_COMMITTER_NAME: 'Ann',
        GIT_COMMITTER_EMAIL: 'ann@lab',
      },
    }).trim();
  git('init', '--quiet', '--initial-branch=main');
  const commit = async (content: Record<string, string>) => {
    for (const [name, text] of Object.entries(content)) {
      await mkdir(dirname(join(root, name)), { recursive: true });
      await writeFile(join(root, name), text);
    }
    git('add', '--all');
    git('commit', '--quiet', '--allow-empty', '--message', 'work');
    return git('rev-parse', 'HEAD');
  };
  await commit(files);
  return { directory: root, git, commit };
}

const pilot = "process.stdout.write('from git\\n');\n";
const add = (source: Checkout, tag: string, more: Partial<Parameters<typeof addFromGit>[0]> = {}) =>
  addFromGit({ ...lab.context, git: source.directory, tag, ...more });

async function signed(version: string) {
  const { targets } = (await openRepository(lab.context)).roles.releases.metadata.signed;
  return describeRelease(new Map(Object.entries(targets)), version);
}

test('a tag becomes a release with its commit, tag and builder; the work tree plays no part, and the bytes repeat', async () => {
  const source = await checkout({
    'pilot/pilot.mjs': pilot,
    'pilot/lib/tool.sh': '#!/bin/sh\n',
    'README.md': 'x',
  });
  await chmod(join(source.directory, 'pilot/lib/tool.sh'), 0o755);
  const commit = await source.commit({});
  source.git('tag', '--annotate', '--message', 'release', 'v2.0.0');
  await writeFile(join(source.directory, 'pilot/pilot.mjs'), 'not committed');
  await source.commit({ 'pilot/extra.mjs': 'after the tag' });
  const sbom = join(directory, 'sbom.cdx.json');
  await writeFile(sbom, '{"bomFormat":"CycloneDX"}');

  const result = await add(source, 'v2.0.0', { path: 'pilot/', attach: [sbom] });
  assert.deepEqual(
    [result.version, result.added, result.commit, result.attached],
    ['2.0.0', true, commit, ['pilot/2.0.0/sbom.cdx.json']],
  );
  const release = (await signed('2.0.0'))!;
  assert.deepEqual(Object.keys(release.files), ['lib/tool.sh', 'manifest.json', 'pilot.mjs']);
  assert.deepEqual(
    [release.commit, release.tag, release.builder, release.builtAt, release.attachments],
    [commit, 'v2.0.0', `lab@${hostname()}`, '2026-11-01T10:00:00Z', ['pilot/2.0.0/sbom.cdx.json']],
  );
  const entry = (await releaseLog(lab.context)).at(-1)!;
  assert.deepEqual([entry.action, entry.details.commit], ['add', commit]);

  const again = await add(source, 'v2.0.0', { path: 'pilot' });
  assert.deepEqual([again.added, again.sha256, again.attached], [false, result.sha256, []]);
  assert.equal((await releaseLog(lab.context)).at(-1)!.seq, entry.seq, 'nothing was signed again');
  const { versions } = await releaseHistory(lab.context);
  assert.deepEqual([versions[0]!.version, versions[0]!.commit], ['2.0.0', commit]);
});

test('a build command runs in an export of its own, with a deadline, and knows only what it needs', async () => {
  const source = await checkout({
    'build.sh': `mkdir out && echo "$PILOTAGE_VERSION $PILOTAGE_COMMIT $SOURCE_DATE_EPOCH" > out/pilot.mjs
      env | grep -c PASSPHRASE >> out/pilot.mjs; test ! -e .git; test ! -e left-over`,
  });
  await writeFile(join(source.directory, 'left-over'), '');
  source.git('tag', '3.0.0');
  process.env.PILOTAGE_PASSPHRASE_FILE = lab.passphraseFile;
  const result = await add(source, '3.0.0', { build: 'sh build.sh', path: 'out' }).finally(
    () => delete process.env.PILOTAGE_PASSPHRASE_FILE,
  );
  assert.equal(result.version, '3.0.0');
  const { texts } = await releaseDiff({ ...lab.context, from: '1.0.0', to: '3.0.0', text: true });
  const patch = texts!.find(({ path }) => path === 'pilot.mjs')!.patch!;
  assert.match(patch, new RegExp(`^\\+3\\.0\\.0 ${source.git('rev-parse', 'HEAD')} 1793527200\n\\+0$`, 'm'));

  source.git('tag', '3.0.1');
  await assert.rejects(add(source, '3.0.1', { build: 'echo broken >&2; exit 3' }), {
    code: 'E_BUILD_FAILED',
    message: /ended with code 3/,
    found: 'broken',
  });
  await assert.rejects(add(source, '3.0.1', { build: 'sleep 60 & sleep 60', buildSeconds: 1 }), {
    code: 'E_BUILD_FAILED',
    message: /within 1 s/,
  });
});

test('no tag, a branch, a tag of something else, a directory that is no repository', async () => {
  const source = await checkout({ 'pilot.mjs': pilot });
  source.git('branch', 'v4.0.0');
  source.git('tag', '4.0.1', source.git('rev-parse', 'HEAD:pilot.mjs'));
  const code = 'E_TAG_UNKNOWN';
  await assert.rejects(add(source, 'v4.0.0'), { code, found: 'a branch "v4.0.0"' });
  await assert.rejects(add(source, '4.0.9'), { code, found: 'no such tag' });
  await assert.rejects(add(source, '4.0.1'), { code, message: /names no commit/ });
  await assert.rejects(add(source, '4.0.0..x'), { code: 'E_VERSION_INVALID' });
  await assert.rejects(add(source, '--output=x'), { code: 'E_VERSION_INVALID' });
  await assert.rejects(add(source, 'HEAD'), { code: 'E_VERSION_INVALID' });
  await assert.rejects(add({ ...source, directory }, '4.0.0'), { code: 'E_GIT_FAILED', where: directory });
  const nowhere = join(directory, 'nowhere');
  await assert.rejects(add({ ...source, directory: nowhere }, '4.0.0'), {
    code: 'E_GIT_FAILED',
    where: nowhere,
  });
});

test('a tag that moved does not change a version, and neither does another tag of the same version', async () => {
  const source = await checkout({ 'pilot.mjs': pilot });
  source.git('tag', 'v5.0.0');
  await add(source, 'v5.0.0');
  await source.commit({});
  source.git('tag', '--force', 'v5.0.0');
  await assert.rejects(add(source, 'v5.0.0'), { code: 'E_VERSION_EXISTS' });
  // The same bytes from another commit: a manifest of its own names none.
  const plain = await checkout({ 'pilot.mjs': pilot, 'manifest.json': '{"name":"p","version":"5.1.0"}' });
  plain.git('tag', 'v5.1.0');
  await add(plain, 'v5.1.0');
  const first = plain.git('rev-parse', 'HEAD');
  const second = await plain.commit({});
  plain.git('tag', '--force', 'v5.1.0');
  await assert.rejects(add(plain, 'v5.1.0'), {
    code: 'E_VERSION_EXISTS',
    expected: `commit ${first}`,
    found: `commit ${second}`,
  });
});

test('a tree that is no pilot, and a manifest that disagrees with the tag, are refused', async () => {
  const source = await checkout({
    'other/readme.txt': 'x',
    'manifest/pilot.mjs': pilot,
    'manifest/manifest.json': '{"name":"p","version":"1.2.3"}',
    'commit/pilot.mjs': pilot,
    'commit/manifest.json': '{"name":"p","version":"6.0.0","commit":"0123"}',
    'linked/pilot.mjs': pilot,
  });
  await symlink('/etc/passwd', join(source.directory, 'linked/passwd'));
  await symlink('manifest', join(source.directory, 'alias'));
  await source.commit({});
  source.git('tag', '6.0.0');
  const code = 'E_TARBALL_INVALID';
  await assert.rejects(add(source, '6.0.0', { path: 'other' }), { code, found: 'readme.txt' });
  await assert.rejects(add(source, '6.0.0', { path: 'manifest' }), {
    code,
    expected: '6.0.0',
    found: '1.2.3',
  });
  await assert.rejects(add(source, '6.0.0', { path: 'commit' }), { code, found: '0123' });
  await assert.rejects(add(source, '6.0.0', { path: 'linked' }), { code, message: /passwd/ });
  await assert.rejects(add(source, '6.0.0', { path: 'alias' }), { code, found: 'alias' });
  await assert.rejects(add(source, '6.0.0', { path: 'missing' }), { code, found: 'missing' });
  await assert.rejects(add(source, '6.0.0', { path: '../x' }), { code: 'E_USAGE' });
});

test('a signature is wanted of the tag itself, under its own name', async t => {
  const source = await checkout({ 'pilot.mjs': pilot });
  const key = join(directory, 'signing-key');
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
  await writeFile(join(directory, 'signers'), `ann@lab ${await readFile(`${key}.pub`, 'utf8')}`);
  source.git('config', 'gpg.format', 'ssh');
  source.git('config', 'user.signingkey', key);
  source.git('tag', '--sign', '--message', 'release', 'v7.0.0');
  source.git('tag', '--annotate', '--message', 'unsigned', 'v7.0.1');
  source.git('tag', 'v7.0.2');
  source.git('update-ref', 'refs/tags/v7.0.3', 'refs/tags/v7.0.0');
  const code = 'E_TAG_SIGNATURE';
  // Whose signatures are good is not for the repository to say.
  source.git('config', 'gpg.ssh.allowedSignersFile', join(directory, 'signers'));
  await assert.rejects(add(source, 'v7.0.0', { verifyTag: true }), { code });
  const settings = join(directory, 'settings-of-the-manager');
  await writeFile(settings, `[gpg "ssh"]\n\tallowedSignersFile = ${join(directory, 'signers')}\n`);
  process.env.GIT_CONFIG_GLOBAL = settings;
  t.after(() => delete process.env.GIT_CONFIG_GLOBAL);
  await assert.rejects(add(source, 'v7.0.1', { verifyTag: true }), { code });
  await assert.rejects(add(source, 'v7.0.2', { verifyTag: true }), { code });
  await assert.rejects(add(source, 'v7.0.3', { verifyTag: true }), { code, found: /on the tag v7\.0\.0/ });
  assert.equal((await add(source, 'v7.0.0', { verifyTag: true })).added, true);
});

test('settings and attributes of a hostile repository run nothing and change no byte', async () => {
  const source = await checkout({ 'src/pilot.mjs': pilot, '.gitattributes': '*.mjs filter=evil ident\n' });
  const proof = join(directory, 'it-ran');
  const evil = join(directory, 'evil');
  await writeFile(evil, `#!/bin/sh\ntouch ${proof}\ncat\necho evil\nexit 0\n`, { mode: 0o755 });
  const tagged = `object ${source.git('rev-parse', 'HEAD')}\ntype commit\ntag 7.1.1\ntagger A <a@lab> 1793527200 +0000\n\n`;
  const object = join(directory, 'signed-tag');
  await writeFile(object, `${tagged}x\n-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n`);
  source.git('update-ref', 'refs/tags/7.1.1', source.git('hash-object', '-t', 'tag', '-w', object));
  source.git('tag', '7.1.0');
  for (const name of [
    'filter.evil.smudge',
    'gpg.program',
    'tar.tar.command',
    'core.fsmonitor',
    'core.pager',
  ]) {
    source.git('config', name, evil);
  }
  source.git('config', 'log.showSignature', 'true');
  await writeFile(join(source.directory, '.git/info/attributes'), 'src/pilot.mjs export-ignore\n');
  assert.equal((await add(source, '7.1.0', { path: 'src' })).added, true);
  await assert.rejects(add(source, '7.1.1', { path: 'src', verifyTag: true }), { code: 'E_TAG_SIGNATURE' });
  assert.equal((await signed('7.1.0'))!.files['pilot.mjs'], sha256Of(Buffer.from(pilot)));
  await assert.rejects(access(proof), { code: 'ENOENT' });
});

test('a shallow clone, and a repository with SHA-256 ids, are read as any other', async () => {
  const source = await checkout({ 'pilot.mjs': pilot });
  await source.commit({ more: 'x' });
  source.git('tag', '7.2.0');
  const clone = join(directory, 'shallow');
  source.git('clone', '--quiet', '--depth', '1', `file://${source.directory}`, clone);
  assert.equal((await add({ ...source, directory: clone }, '7.2.0')).added, true);
  const other = join(directory, 'sha256');
  source.git('init', '--quiet', '--object-format=sha256', other);
  await writeFile(join(other, 'pilot.mjs'), pilot);
  for (const line of ['add --all', 'commit --quiet --message x', 'tag 7.2.1']) {
    source.git('-C', other, ...line.split(' '));
  }
  assert.equal((await add({ ...source, directory: other }, '7.2.1')).commit!.length, 64);
});

test('attachments join a version later, keep their bytes, and have plain names', async () => {
  const tarball = await makePilotTarball({ directory, version: '8.0.0' });
  const note = join(directory, 'provenance.json');
  await writeFile(note, '{}');
  await addRelease({ ...lab.context, tarball });
  const later = await addRelease({ ...lab.context, tarball, attach: [note] });
  assert.deepEqual([later.added, later.attached], [false, ['pilot/8.0.0/provenance.json']]);
  assert.deepEqual((await addRelease({ ...lab.context, tarball, attach: [note] })).attached, []);
  await writeFile(note, '{"other":1}');
  await assert.rejects(addRelease({ ...lab.context, tarball, attach: [note] }), { code: 'E_VERSION_EXISTS' });
  const odd = join(directory, 'a b.json');
  await writeFile(odd, '');
  await assert.rejects(addRelease({ ...lab.context, tarball, attach: [odd] }), { code: 'E_USAGE' });
  await assert.rejects(addRelease({ ...lab.context, tarball, attach: [note, note] }), { code: 'E_USAGE' });
  await assert.rejects(addRelease({ ...lab.context, tarball, attach: [tarball] }), { code: 'E_USAGE' });
});

test('a withdrawn version takes its attachments along, does not come back, and can still be looked at', async () => {
  const tarball = await makePilotTarball({ directory, version: '8.0.0' });
  await lab.publish();
  await revoke({ ...lab.context, version: '8.0.0' });
  await lab.publish();
  const repository = await openRepository(lab.context);
  const paths = Object.keys(repository.roles.releases.metadata.signed.targets);
  assert.deepEqual(
    paths.filter(path => path.startsWith('pilot/8.0.0/')),
    [],
  );
  await assert.rejects(addRelease({ ...lab.context, tarball }), {
    code: 'E_VERSION_REVOKED',
    message: /by lab/,
  });
  const diff = await releaseDiff({ ...lab.context, from: '8.0.0', to: '1.0.0', text: true });
  assert.deepEqual(diff.files.changed, ['manifest.json']);
  assert.match(diff.texts![0]!.patch!, /8\.0\.0/);
  await assert.rejects(releaseDiff({ ...lab.context, from: '9.9.9', to: '1.0.0' }), {
    code: 'E_VERSION_UNKNOWN',
    expected: /8\.0\.0/,
  });
  const target = (await everReleased(repository)).get('pilot/8.0.0/pilot-8.0.0.tar.gz')!;
  await writeFile(repository.storage.where(targetPlace(target)), 'tampered');
  await assert.rejects(releaseDiff({ ...lab.context, from: '8.0.0', to: '1.0.0', text: true }), {
    code: 'E_TARGET_LENGTH',
  });
});
