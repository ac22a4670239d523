import { createPublicKey, type KeyObject } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ensureDirectory, readTextBounded, writeFileAtomic } from '../../lib/files.ts';
import { signingError } from '../errors.ts';
import {
  createAuthority,
  issueCertificate,
  newKey,
  openAuthority,
  type Authority,
  type CertificatePurpose,
} from './authority.ts';
import { readName } from './names.ts';
import { toPem } from './pem.ts';

/** The authority of one instance at home, and the directory that holds its files. */
export interface DevAuthority {
  directory: string;
  instance: string;
  authority: Authority;
  /** Its certificate: what everything of the instance trusts. */
  caFile: string;
}

/** Files just written. */
export interface DevCredential {
  /** Certificate and intermediates, leaf first, PEM. */
  certificateFile: string;
  /** PKCS#8 PEM, mode 0600. */
  keyFile: string;
  dn: string;
  notAfterMs: number;
}

/** Days that a dev authority lives; what it issues cannot live longer. */
export const devAuthorityDays = 30;

const loopback = { dns: ['localhost'], ips: ['127.0.0.0/8', '::1/128'] };
const defaultHosts = ['localhost', '127.0.0.1', '::1'];
const instanceName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,40}$/;
const userName = /^[A-Za-z0-9][A-Za-z0-9._@ -]{0,50}$/;

/**
 * Makes the authority of one instance: `ca.pem` and `ca.key` (0600) in `directory`. It lives 30 days and is
 * name-constrained to localhost, 127.0.0.0/8, ::1 and to subjects under `/O=Pilotage/OU=<instance>`, so that it is
 * worth nothing elsewhere.
 *
 * @throws E_AUTHORITY_EXISTS, E_SUBJECT_INVALID, E_PERMISSION.
 */
export async function createDevAuthority(options: {
  directory: string;
  instance: string;
  days?: number;
  nowMs?: number;
}): Promise<DevAuthority> {
  const { directory, instance, days = devAuthorityDays } = options;
  checkName(instance, instanceName, 'instance', 'letters, digits, dot, dash and underscore');
  const caFile = join(directory, 'ca.pem');
  if (existsSync(caFile)) {
    throw signingError({
      code: 'E_AUTHORITY_EXISTS',
      message: 'There is an authority already; a new one would make all its certificates worthless.',
      where: caFile,
      fix: 'Use it, or remove the directory first when that is what you want.',
    });
  }
  const authority = await createAuthority({
    commonName: 'dev CA',
    instance,
    days,
    pathLength: 1,
    permittedDns: loopback.dns,
    permittedIps: loopback.ips,
    ...(options.nowMs === undefined ? {} : { nowMs: options.nowMs }),
  });
  await ensureDirectory(directory);
  // The certificate comes last: with it the authority exists.
  await writeKey(join(directory, 'ca.key'), authority.privateKey);
  await writeFileAtomic(caFile, authority.certificatePem);
  return { directory, instance, authority, caFile };
}

/**
 * Takes up an authority that {@link createDevAuthority} made.
 *
 * @throws E_FILE_MISSING, E_CERTIFICATE_UNREADABLE, E_KEY_UNREADABLE, E_AUTHORITY_INVALID.
 */
export async function openDevAuthority(directory: string): Promise<DevAuthority> {
  const caFile = join(directory, 'ca.pem');
  const pem = await readTextBounded(caFile);
  const authority = openAuthority(pem, await readTextBounded(join(directory, 'ca.key')), caFile);
  const unit = readName(authority.certificate.subject)
    .flat()
    .find(({ type }) => type === '2.5.4.11');
  if (!unit) {
    throw signingError({
      code: 'E_AUTHORITY_INVALID',
      message: 'The authority does not say which instance it is for.',
      where: caFile,
      expected: '/O=Pilotage/OU=<instance>/CN=…',
      found: authority.certificate.subjectDn,
      fix: 'Make it with pilotage cert init.',
    });
  }
  return { directory, instance: unit.value, authority, caFile };
}

/** `server.pem` and `server.key` for a TLS server on this machine; `name` changes the file names. */
export function issueDevServer(
  dev: DevAuthority,
  options: { name?: string; hosts?: readonly string[]; validSeconds?: number; nowMs?: number } = {},
): Promise<DevCredential> {
  const { name = 'server', hosts = defaultHosts } = options;
  checkName(name, instanceName, 'name', 'letters, digits, dot, dash and underscore');
  for (const host of hosts) {
    if (!/^(localhost|[a-z0-9-]+\.localhost|127(\.\d{1,3}){3}|::1)$/.test(host)) {
      throw signingError({
        code: 'E_SUBJECT_INVALID',
        message: 'The dev authority certifies names of this machine only.',
        where: 'host',
        expected: 'localhost, 127.x.x.x or ::1',
        found: host,
        fix: 'Use a certificate of your own authority for a server that others reach.',
      });
    }
  }
  return issueFiles(dev, { ...options, file: name, commonName: name, usage: 'server', hosts });
}

/** `user-<name>.pem` and `.key` of a person: `/O=Pilotage/OU=<instance>/CN=<name>`. */
export function issueDevUser(
  dev: DevAuthority,
  name: string,
  options: { validSeconds?: number; nowMs?: number } = {},
): Promise<DevCredential> {
  checkName(name, userName, 'user', 'letters, digits, space, @, dot, dash and underscore');
  if (/^(pilot|payload)( |$)/i.test(name)) {
    throw signingError({
      code: 'E_SUBJECT_INVALID',
      message: 'Names that begin with pilot or payload are kept for credentials of the service itself.',
      where: 'user',
      found: name,
      fix: 'Choose another name.',
    });
  }
  const file = `user-${name.replaceAll(/[ @]/g, '_')}`;
  return issueFiles(dev, { ...options, file, commonName: name, usage: 'client', hosts: [] });
}

/**
 * The authority that a server issues pilot and payload certificates with: `pilot-authority.pem` (itself, leaf first) and
 * `pilot-authority.key`; below the dev CA, no authority below it, for clients only. Open it with `openAuthority`.
 *
 * @throws E_AUTHORITY_EXPIRED, E_PERMISSION.
 */
export async function issuePilotAuthority(
  dev: DevAuthority,
  options: { nowMs?: number } = {},
): Promise<DevCredential> {
  const authority = await createAuthority({
    commonName: 'pilot authority',
    instance: dev.instance,
    days: devAuthorityDays,
    pathLength: 0,
    usage: 'client',
    issuer: dev.authority,
    ...options,
  });
  const chainPem = authority.intermediates.map(der => toPem(der)).join('');
  return writeCredential(dev.directory, 'pilot-authority', authority.privateKey, {
    chainPem,
    dn: authority.certificate.subjectDn,
    notAfterMs: authority.certificate.notAfterMs,
  });
}

async function issueFiles(
  dev: DevAuthority,
  options: {
    file: string;
    commonName: string;
    usage: CertificatePurpose;
    hosts: readonly string[];
    validSeconds?: number;
    nowMs?: number;
  },
): Promise<DevCredential> {
  const privateKey = newKey();
  const issued = await issueCertificate({
    authority: dev.authority,
    publicKey: createPublicKey(privateKey),
    subject: [
      ['O', 'Pilotage'],
      ['OU', dev.instance],
      ['CN', options.commonName],
    ],
    validSeconds: options.validSeconds ?? devAuthorityDays * 86_400,
    usage: options.usage,
    subjectAltNames: options.hosts,
    ...(options.nowMs === undefined ? {} : { nowMs: options.nowMs }),
  });
  return writeCredential(dev.directory, options.file, privateKey, issued);
}

async function writeCredential(
  directory: string,
  file: string,
  privateKey: KeyObject,
  issued: { chainPem: string; dn: string; notAfterMs: number },
): Promise<DevCredential> {
  const certificateFile = join(directory, `${file}.pem`);
  const keyFile = join(directory, `${file}.key`);
  await writeKey(keyFile, privateKey);
  await writeFileAtomic(certificateFile, issued.chainPem);
  return { certificateFile, keyFile, dn: issued.dn, notAfterMs: issued.notAfterMs };
}

const writeKey = (path: string, key: KeyObject): Promise<void> =>
  writeFileAtomic(path, key.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });

function checkName(value: string, pattern: RegExp, where: string, allowed: string): void {
  if (pattern.test(value)) return;
  throw signingError({
    code: 'E_SUBJECT_INVALID',
    message: `This is not a name that can be certified as ${where}.`,
    where,
    expected: allowed,
    found: JSON.stringify(value.slice(0, 80)),
    fix: 'Choose another name.',
  });
}
