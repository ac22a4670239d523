import { test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseCertificate } from '../../../../signing/x509/certificate.ts';
import { splitPem } from '../../../../signing/x509/pem.ts';
import { subjectHashes } from '../../../../signing/trust/name-hash.ts';
import { temporaryDirectory } from '../../../lab/temporary.ts';

const openssl = (cwd: string, ...args: string[]): string =>
  execFileSync('openssl', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

const subjects = [
  '/C=CH/O=CERN/CN=CERN Grid Certification Authority',
  '/DC=org/DC=Example/CN=  Spaces   inside   and around  ',
  '/C=FR/O=Été à Orsay/CN=Žluťoučký kůň',
  '/O=Grid/CN=UPPER and lower+OU=Beta+serialNumber=12345',
  '/O=Grid/OU=x/emailAddress=Someone@Example.ORG',
  '/x500UniqueIdentifier=abc/CN=not text',
];

test('an authority has the names under which OpenSSL looks for it, old and new', async t => {
  const directory = await temporaryDirectory(t, 'hash');
  openssl(directory, 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', 'key');
  for (const encoding of ['utf8only', 'default', 'pkix']) {
    for (const [index, subject] of subjects.entries()) {
      const mask = ['[req]', 'distinguished_name=dn', `string_mask=${encoding}`, '[dn]'].join('\n');
      execFileSync('sh', ['-c', `printf '%s\n' "$1" >cnf`, 'sh', mask], { cwd: directory });
      const make = ['req', '-x509', '-new', '-key', 'key', '-utf8', '-multivalue-rdn', '-config', 'cnf'];
      openssl(directory, ...make, '-subj', subject, '-days', '1', '-out', 'crt');
      const [der] = splitPem(await readFile(join(directory, 'crt'), 'latin1'), 'crt');
      const { current, old } = subjectHashes(parseCertificate(der!, 'crt').subject);
      const [expected, expectedOld] = ['-subject_hash', '-subject_hash_old'].map(which =>
        openssl(directory, 'x509', '-in', 'crt', '-noout', which).trim(),
      );
      assert.deepEqual([current, old], [expected, expectedOld], `${encoding} ${index} ${subject}`);
    }
  }
});
