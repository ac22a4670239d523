import { execFileSync } from 'node:child_process';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** An authority as OpenSSL makes it, in a directory as sites have it: files by name, and links by hash. */
export interface GridAuthority {
  /** The grid certificate directory. */
  certificates: string;
  caFile: string;
  /** Of the subject, as OpenSSL names files. */
  hash: string;
  /** Makes an end entity; returns its certificate file. */
  issue(name: string): Promise<string>;
  /** Revokes a certificate and writes a new list. */
  revoke(certificate: string): void;
}

const openssl = (cwd: string, ...args: string[]): string =>
  execFileSync('openssl', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

/** @param options.subject in OpenSSL's form, `/O=Grid/CN=Lab CA`. */
export async function makeGridAuthority(options: {
  directory: string;
  subject?: string;
  days?: number;
  crlDays?: number;
}): Promise<GridAuthority> {
  const { directory, subject = '/DC=org/DC=example/O=Grid  Lab/CN=Lab CA', days = 30, crlDays = 7 } = options;
  const certificates = join(directory, 'certificates');
  await mkdir(certificates, { recursive: true });
  await writeFile(join(directory, 'index.txt'), '');
  await writeFile(join(directory, 'crlnumber'), '01\n');
  await writeFile(
    join(directory, 'ca.cnf'),
    `[ca]\ndefault_ca=lab\n[lab]\ndatabase=${directory}/index.txt\ncrlnumber=${directory}/crlnumber
default_md=sha256\ndefault_crl_days=${crlDays}\nserial=${directory}/serial\nnew_certs_dir=${directory}
policy=any\n[any]\norganizationName=optional\ncommonName=supplied\n`,
  );
  const caFile = join(certificates, 'Lab-CA.pem');
  const key = join(directory, 'ca.key');
  openssl(directory, 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', key);
  const made = [
    'req',
    '-x509',
    '-new',
    '-key',
    key,
    '-utf8',
    '-subj',
    subject,
    '-days',
    String(days),
    '-out',
    caFile,
  ];
  openssl(directory, ...made, '-addext', 'keyUsage=critical,keyCertSign,cRLSign');
  const hash = openssl(directory, 'x509', '-in', caFile, '-noout', '-subject_hash').trim();
  const oldHash = openssl(directory, 'x509', '-in', caFile, '-noout', '-subject_hash_old').trim();
  await writeFile(join(certificates, 'Lab-CA.signing_policy'), `access_id_CA X509 '${subject}'\n`);
  const by = ['ca', '-config', 'ca.cnf', '-keyfile', key, '-cert', caFile];
  const list = () => openssl(directory, ...by, '-gencrl', '-out', join(certificates, `${hash}.r0`));
  list();
  for (const link of [hash, oldHash]) {
    await symlink('Lab-CA.pem', join(certificates, `${link}.0`));
    await symlink('Lab-CA.signing_policy', join(certificates, `${link}.signing_policy`));
  }
  let serial = 100;
  return {
    certificates,
    caFile,
    hash,
    async issue(name) {
      const file = join(directory, `${name}.pem`);
      const request = join(directory, `${name}.csr`);
      const own = join(directory, `${name}.key`);
      openssl(directory, 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', own);
      openssl(directory, 'req', '-new', '-key', own, '-subj', `/O=Grid/CN=${name}`, '-out', request);
      serial += 1;
      const issuer = ['-CA', caFile, '-CAkey', key, '-set_serial', String(serial)];
      openssl(directory, 'x509', '-req', '-in', request, ...issuer, '-days', '10', '-out', file);
      return file;
    },
    revoke(certificate) {
      openssl(directory, ...by, '-revoke', certificate);
      list();
    },
  };
}
