import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openAuthority } from '../../../../signing/x509/authority.ts';
import {
  createDevAuthority,
  issueDevServer,
  issueDevUser,
  issuePilotAuthority,
  openDevAuthority,
} from '../../../../signing/x509/dev-authority.ts';
import { splitPem } from '../../../../signing/x509/pem.ts';
import { loadTrust, trustFromPem } from '../../../../signing/x509/trust.ts';
import { verifyChain } from '../../../../signing/x509/verify-chain.ts';

const base = mkdtempSync(join(tmpdir(), 'pilotage-dev-ca-'));
after(() => rmSync(base, { recursive: true }));
const fresh = () => mkdtempSync(join(base, 'ca-'));

const chainOf = (file: string) => splitPem(readFileSync(file, 'utf8'), file);
const mode = (file: string) => statSync(file).mode & 0o777;

test('an instance gets an authority, a server, a user and a pilot authority that hold', async () => {
  const directory = fresh();
  const made = await createDevAuthority({ directory, instance: 'home' });
  assert.equal(mode(join(directory, 'ca.key')), 0o600);
  const dev = await openDevAuthority(directory);
  assert.equal(dev.instance, 'home');
  const trust = await loadTrust(made.caFile);
  const server = await issueDevServer(dev);
  verifyChain(chainOf(server.certificateFile), trust, Date.now(), { usage: 'server' });
  const user = await issueDevUser(dev, 'alice');
  assert.equal(user.dn, '/O=Pilotage/OU=home/CN=alice');
  assert.equal(verifyChain(chainOf(user.certificateFile), trust, Date.now()).rights, 'full');
  const pilots = await issuePilotAuthority(dev);
  for (const { keyFile } of [server, user, pilots]) assert.equal(mode(keyFile), 0o600);
  const authority = openAuthority(
    readFileSync(pilots.certificateFile, 'utf8'),
    readFileSync(pilots.keyFile, 'utf8'),
    pilots.certificateFile,
  );
  assert.equal(authority.certificate.basicConstraints?.pathLength, 0);
  const daysLeft = (dev.authority.certificate.notAfterMs - Date.now()) / 86_400_000;
  assert.ok(daysLeft > 29.9 && daysLeft <= 30);
});

test("one instance's certificates are worthless to another", async () => {
  const one = await createDevAuthority({ directory: fresh(), instance: 'one' });
  const two = await createDevAuthority({ directory: fresh(), instance: 'two' });
  const user = await issueDevUser(one, 'alice');
  const trust = await loadTrust(two.caFile);
  assert.throws(() => verifyChain(chainOf(user.certificateFile), trust, Date.now()), {
    code: 'E_CHAIN_UNTRUSTED',
  });
  const crossed = { ...one, instance: 'two' };
  const stranger = await issueDevUser(crossed, 'bob');
  assert.throws(() => verifyChain(chainOf(stranger.certificateFile), trustOf(one.caFile), Date.now()), {
    rule: /^name-constraints/,
  });
});
const trustOf = (file: string) => trustFromPem([{ file, pem: readFileSync(file, 'utf8') }], file);

test('an authority is never overwritten, names are bounded, hosts are loopback', async () => {
  const directory = fresh();
  const dev = await createDevAuthority({ directory, instance: 'home' });
  await assert.rejects(createDevAuthority({ directory, instance: 'home' }), { code: 'E_AUTHORITY_EXISTS' });
  for (const instance of ['', 'a/b', '../x', 'x'.repeat(50)]) {
    await assert.rejects(createDevAuthority({ directory: fresh(), instance }), { code: 'E_SUBJECT_INVALID' });
  }
  for (const name of ['', '../../etc/x', 'a/b', 'pilot 1', 'Payload 2', 'pilot', 'a\nb']) {
    await assert.rejects(async () => issueDevUser(dev, name), { code: 'E_SUBJECT_INVALID' }, name);
  }
  for (const host of ['example.org', '10.0.0.1', '127.0.0.1.evil.org', '::2']) {
    await assert.rejects(
      async () => issueDevServer(dev, { hosts: [host] }),
      { code: 'E_SUBJECT_INVALID' },
      host,
    );
  }
});

test('trust is loaded from a file or a directory; what does not belong there is named', async () => {
  const directory = fresh();
  const dev = await createDevAuthority({ directory, instance: 'home' });
  await issuePilotAuthority(dev);
  // Grid directories hold each authority twice: by name and by hash.
  writeFileSync(join(directory, 'ab12cd34.0'), readFileSync(dev.caFile));
  const trust = await loadTrust(directory);
  assert.deepEqual([trust.anchors.length, trust.intermediates.length], [1, 1]);
  const user = await issueDevUser(dev, 'alice');
  await assert.rejects(loadTrust(directory), {
    code: 'E_CERTIFICATE_UNREADABLE',
    where: /user-alice\.pem/,
  });
  rmSync(user.certificateFile);
  writeFileSync(join(directory, 'bad.crt'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
  await assert.rejects(loadTrust(directory), { code: 'E_CERTIFICATE_UNREADABLE', where: /bad\.crt/ });
  await assert.rejects(loadTrust(join(directory, 'none')), { code: 'E_FILE_MISSING' });
  await assert.rejects(loadTrust(fresh()), { code: 'E_TRUST_EMPTY' });
  await assert.rejects(loadTrust(join(directory, 'pilot-authority.pem')), { code: 'E_TRUST_EMPTY' });
  await assert.rejects(loadTrust(join(directory, 'ca.key')), { code: 'E_CERTIFICATE_UNREADABLE' });
});

const program = `
import { Command } from 'commander';
import { registerX509 } from './signing/x509/cli.ts';
const program = new Command('pilotage').option('--json').exitOverride(() => process.exit(2));
registerX509(program);
await program.parseAsync();
`;
function pilotage(...args: string[]) {
  const ran = spawnSync(process.execPath, ['--input-type=module-typescript', '-e', program, '--', ...args], {
    encoding: 'utf8',
    cwd: new URL('../../../..', import.meta.url),
  });
  return { code: ran.status, out: ran.stdout, err: ran.stderr };
}

test('the commands make, show and judge certificates with words and exit codes', () => {
  const directory = join(fresh(), 'new');
  const init = pilotage('cert', 'init', '-d', directory, '-i', 'home', '--json');
  assert.equal(init.code, 0, init.err);
  assert.equal((JSON.parse(init.out) as { dn: string }).dn, '/O=Pilotage/OU=home/CN=dev CA');
  assert.equal(pilotage('cert', 'user', 'alice', '-d', directory).code, 0);
  const caFile = join(directory, 'ca.pem');
  const file = join(directory, 'user-alice.pem');
  const shown = pilotage('cert', 'show', file, '--trust', caFile);
  assert.equal(shown.code, 0, shown.err);
  assert.match(shown.out, /holds: \/O=Pilotage\/OU=home\/CN=alice, 0 proxies, rights full/);
  assert.match(pilotage('cert', 'show', file).out, /not judged: name the trusted authorities/);

  const judged = pilotage('cert', 'show', file, '--trust', caFile, '--usage', 'server');
  assert.equal(judged.code, 3);
  assert.match(judged.err, /^E_CHAIN_INVALID: .*\n {2}where: .*user-alice\.pem, certificate 1 of 1/);
  assert.match(judged.err, /rule: extended-key-usage/);
  const wrong = pilotage('cert', 'show', file, '--usage', 'x');
  assert.deepEqual([wrong.code, /E_USAGE/.test(wrong.err)], [2, true]);
  assert.equal(pilotage('cert', 'show', join(directory, 'none.pem')).code, 2);
  assert.equal(pilotage('cert', 'init', '-d', directory, '-i', 'home').code, 2);

  const together = join(directory, 'proxy.pem');
  writeFileSync(together, readFileSync(file, 'utf8') + readFileSync(join(directory, 'ca.key'), 'utf8'));
  chmodSync(together, 0o644);
  const warned = pilotage('cert', 'show', together).out;
  assert.match(warned, /holds a private key but has mode 644/);
  assert.match(warned, /does not belong to the first certificate/);
});
