import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  appendFile,
  mkdir,
  readFile,
  readdir,
  readlink,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { list } from 'tar';
import { buildBundle } from '../../../signing/trust/build-bundle.ts';
import { stageBundle } from '../../../signing/trust/publish-bundle.ts';
import { installBundle } from '../../../signing/trust/unpack-bundle.ts';
import { makeGridAuthority } from '../../lab/grid-authority.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';
import type { Ending } from '../../lab/temporary.ts';

/** A site's directories, and a way to bundle them. */
async function open(t: Ending, more: { crlDays?: number; days?: number } = {}) {
  const directory = await temporaryDirectory(t, 'trust');
  const authority = await makeGridAuthority({ directory: join(directory, 'site'), ...more });
  const vomsdir = join(directory, 'site', 'vomsdir');
  await mkdir(join(vomsdir, 'physics'), { recursive: true });
  const lsc = join(vomsdir, 'physics', 'voms.example.org.lsc');
  await writeFile(lsc, '/DC=org/CN=voms.example.org\n/DC=org/DC=example/CN=Lab CA\n');
  const policy = join(directory, 'site', 'policy');
  await mkdir(policy);
  await writeFile(join(policy, 'physics.json'), '{"depth":2}');
  const out = join(directory, 'bundle.tar.gz');
  const sources = { certificates: authority.certificates, vomsdir, policy };
  return {
    directory,
    authority,
    lsc,
    policy,
    sources,
    out,
    bundle: (builtAtMs = Date.now()) => buildBundle({ ...sources, out, builtAtMs }),
  };
}

const verifies = (certificates: string, file: string) => {
  const { status, stdout, stderr } = spawnSync(
    'openssl',
    ['verify', '-CApath', certificates, '-no-CAfile', '-crl_check', file],
    { encoding: 'utf8' },
  );
  return { ok: status === 0, text: stdout + stderr };
};

describe('trust anchors', { concurrency: true }, () => {
  test('OpenSSL finds authorities and revocations in what was installed, old and new', async t => {
    const { directory, authority, out, bundle } = await open(t);
    const [good, bad] = [await authority.issue('good'), await authority.issue('bad')];
    const { manifest, warnings } = await bundle();
    assert.deepEqual(warnings, []);
    const { nextUpdate, builtAt: _, ...counts } = manifest;
    assert.deepEqual(counts, {
      schema: 1,
      authorities: 1,
      crls: 1,
      lscFiles: 1,
      vos: ['physics'],
      policies: 1,
    });
    assert.ok(Date.parse(nextUpdate!) > Date.now() + 6 * 86_400_000);
    const to = join(directory, 'installed');
    const first = await installBundle(out, to);
    assert.equal(first.changed, true);
    assert.equal(verifies(first.certificates, good).ok, true);
    assert.equal(verifies(first.certificates, bad).ok, true);
    assert.equal((await installBundle(out, to)).changed, false);
    const reader = await readlink(join(to, 'current'));
    authority.revoke(bad);
    await bundle();
    const second = await installBundle(out, to);
    assert.equal(second.certificates, first.certificates, 'programs keep the path they were given');
    assert.equal(verifies(second.certificates, good).ok, true);
    assert.match(verifies(second.certificates, bad).text, /certificate revoked/);
    assert.equal(verifies(join(to, reader, 'certificates'), bad).ok, true, 'who was reading reads on');
    assert.match(await readFile(join(second.vomsdir, 'physics', 'voms.example.org.lsc'), 'utf8'), /Lab CA/);
    await appendFile(join(directory, 'site', 'policy', 'physics.json'), '\n');
    await bundle();
    await installBundle(out, to);
    assert.equal((await readdir(join(to, 'versions'))).length, 2, 'the last two are kept');
  });

  test('the same files give the same bytes, and only plain files with one name for each travel', async t => {
    const { out, bundle, authority } = await open(t);
    const at = Date.now();
    const first = await bundle(at);
    assert.equal((await bundle(at)).sha256, first.sha256);
    assert.notEqual((await bundle(at + 1000)).sha256, first.sha256);
    const entries: string[] = [];
    await list({ file: out, onReadEntry: entry => entries.push(`${entry.type} ${entry.path}`) });
    assert.ok(entries.includes(`File certificates/${authority.hash}.0`));
    assert.ok(entries.includes(`File certificates/${authority.hash}.signing_policy`));
    assert.deepEqual(
      entries.filter(
        entry =>
          !/^File (certificates\/[0-9a-f]{8}\.(0|r0|signing_policy)|vomsdir\/|policy\/|manifest)/.test(entry),
      ),
      [],
    );
  });

  test('what is wrong is named, all of it, with what to do', async t => {
    const { authority, lsc, policy, bundle } = await open(t);
    const { certificates, hash } = authority;
    const endEntity = await authority.issue('host');
    await symlink('nowhere', join(certificates, 'aaaaaaaa.0'));
    await writeFile(join(certificates, 'bbbbbbbb.0'), await readFile(authority.caFile));
    await writeFile(join(certificates, 'cccccccc.0'), await readFile(endEntity));
    await writeFile(join(certificates, 'dddddddd.0'), 'no certificate');
    await mkdir(join(certificates, 'eeeeeeee.0'));
    await writeFile(join(certificates, 'ffffffff.0'), '-----BEGIN PRIVATE KEY-----\n');
    await writeFile(join(certificates, `${hash}.r1`), 'no list');
    await writeFile(lsc, '/DC=org/CN=voms.example.org\n');
    await writeFile(join(policy, 'broken.json'), '{');
    await assert.rejects(
      bundle(),
      (error: { code: string; message: string; found: string; where: string }) => {
        assert.equal(error.code, 'E_TRUST_FILE');
        assert.match(error.message, /^9 file/);
        for (const told of [
          /aaaaaaaa\.0: .*not there|aaaaaaaa\.0: .*missing|aaaaaaaa\.0: .*no such/i,
          new RegExp(`bbbbbbbb\\.0: its name is not the hash of .* which is ${hash}`),
          /cccccccc\.0: .*CN=host is no authority/,
          /dddddddd\.0: no such block/,
          /eeeeeeee\.0: it is no plain file/,
          /ffffffff\.0: there is a private key/,
          /\.r1: there is no PEM revocation list/,
          /voms\.example\.org\.lsc: a chain in it has 1 name/,
          /broken\.json: /,
        ]) {
          assert.match(error.found, told);
        }
        return true;
      },
    );
  });

  test('a revocation list of another hand is refused, one that ran out is told', async t => {
    const { directory, authority, bundle, out } = await open(t, { crlDays: 1 });
    const file = join(authority.certificates, `${authority.hash}.r0`);
    const late = await bundle(Date.now() + 2 * 86_400_000);
    assert.deepEqual(
      late.warnings.map(issue => issue.file),
      [file],
    );
    assert.match(late.warnings[0]!.problem, /ran out on/);
    const ended = await open(t, { days: 1 });
    const after = buildBundle({ ...ended.sources, out, builtAtMs: Date.now() + 2 * 86_400_000 });
    await assert.rejects(after, { code: 'E_TRUST_EMPTY' });
    const thief = await makeGridAuthority({ directory: join(directory, 'thief') });
    await writeFile(file, await readFile(join(thief.certificates, `${thief.hash}.r0`)));
    await assert.rejects(bundle(), (error: { found: string }) => /did not sign it/.test(error.found));
  });

  test('OpenSSL finds the renewed authority when the one that ended is left out', async t => {
    const { directory, authority, sources, out } = await open(t);
    const { certificates, hash, caFile } = authority;
    const good = await authority.issue('good');
    const ended = await makeGridAuthority({ directory: join(directory, 'before'), days: 1 });
    assert.equal(ended.hash, hash);
    await rm(join(certificates, `${hash}.0`));
    await writeFile(join(certificates, `${hash}.0`), await readFile(ended.caFile));
    await writeFile(join(certificates, `${hash}.1`), await readFile(caFile));
    const { manifest, warnings } = await buildBundle({
      ...sources,
      out,
      builtAtMs: Date.now() + 2 * 86_400_000,
    });
    assert.deepEqual([manifest.authorities, warnings.length], [1, 1]);
    const installed = await installBundle(out, join(directory, 'installed'));
    assert.equal(verifies(installed.certificates, good).text, `${good}: OK\n`);
  });

  test('publishing lists that ran out, or a bundle older than the one in force, is told', async t => {
    const { directory, bundle, out } = await open(t, { crlDays: 1 });
    const { context } = await makeReleaseRepository({ directory: join(directory, 'release') });
    const staged = async (builtAtMs: number, nowMs = builtAtMs) => {
      await bundle(builtAtMs);
      const clock = { ...context.clock, now: () => nowMs };
      const { warnings } = await stageBundle({ ...context, clock, bundle: out });
      return warnings.map(({ problem }) => problem);
    };
    const now = Date.now();
    assert.deepEqual(await staged(now), []);
    const [older, ...others] = await staged(now - 3_600_000, now);
    assert.match(older!, /before the one in force .*forget newer revocations/);
    assert.deepEqual(others, []);
    const [late, ...more] = await staged(now + 1000, now + 2 * 86_400_000);
    assert.match(late!, /ran out at/);
    assert.deepEqual(more, []);
  });

  test('what was cleaned away is installed again', async t => {
    const { directory, out, bundle } = await open(t);
    await bundle();
    const to = join(directory, 'installed');
    const { certificates } = await installBundle(out, to);
    const before = await readdir(certificates);
    await rm(join(to, 'versions'), { recursive: true });
    assert.equal((await installBundle(out, to)).changed, true);
    assert.deepEqual(await readdir(certificates), before);
  });

  test('an installation that fails leaves the one before', async t => {
    const { directory, out, bundle } = await open(t);
    await bundle();
    const to = join(directory, 'installed');
    const { certificates } = await installBundle(out, to);
    const before = await readdir(certificates);
    execFileSync('tar', ['czf', 'evil.tar.gz', '--transform', 's,^,../,', 'bundle.tar.gz'], {
      cwd: directory,
      stdio: 'ignore',
    });
    await assert.rejects(installBundle(join(directory, 'evil.tar.gz'), to), { code: 'E_TARBALL_INVALID' });
    await rename(join(to, 'versions'), join(to, 'moved'));
    await writeFile(join(to, 'versions'), 'in the way');
    await bundle(Date.now() + 5000);
    await assert.rejects(installBundle(out, to), (error: { code: string }) => error.code.startsWith('E_'));
    await rm(join(to, 'versions'));
    await rename(join(to, 'moved'), join(to, 'versions'));
    assert.deepEqual(await readdir(certificates), before);
  });
});
