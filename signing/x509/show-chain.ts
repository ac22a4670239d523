import { stat } from 'node:fs/promises';
import { PilotageError, fromSystemError, libError } from '../../lib/errors.ts';
import { readTextBounded } from '../../lib/files.ts';
import { readPrivateKey } from './authority.ts';
import type { CertificateUsage } from './authority-rules.ts';
import { isSelfSigned, parseCertificate, type Certificate } from './certificate.ts';
import { splitPem } from './pem.ts';
import { isProxy } from './proxy-rules.ts';
import { extendedUsages, proxyPolicies } from './extensions.ts';
import { loadTrust } from './trust.ts';
import { verifyChain } from './verify-chain.ts';

/** One certificate as a person wants to see it. */
export interface ShownCertificate {
  subject: string;
  issuer: string;
  serial: string;
  kind: string;
  key: string;
  keyHash: string;
  notBefore: string;
  notAfter: string;
}

export interface ChainReport {
  file: string;
  certificates: ShownCertificate[];
  /** What `verifyChain` found out, when the chain holds. */
  verdict?: { dn: string; depth: number; limited: boolean; rights: string; notAfter: string };
  refusal?: PilotageError;
  /** Things that are no refusal but will hurt, each one line with its fix. */
  warnings: string[];
  text: string;
}

/**
 * Reads a certificate or proxy file and says what is in it, whether it holds, and what to mend.
 *
 * @param options.usage `client` or `server`; default what the leaf says of itself.
 * @param options.trust file or directory of authorities; without it only what the file itself shows is judged.
 * @throws E_FILE_MISSING, E_CERTIFICATE_UNREADABLE, E_CHAIN_INVALID when a certificate cannot be read at all, E_USAGE.
 */
export async function showChain(
  file: string,
  options: { trust?: string; usage?: string; nowMs: number },
): Promise<ChainReport> {
  const { trust, nowMs } = options;
  if (options.usage !== undefined && !isUsage(options.usage)) {
    throw libError({
      code: 'E_USAGE',
      message: 'This is not a usage.',
      where: '--usage',
      expected: 'client or server',
      found: options.usage,
      fix: 'Name one of them.',
    });
  }
  const pem = await readTextBounded(file);
  const ders = splitPem(pem, file);
  const certificates = ders.map((der, index) =>
    parseCertificate(der, `${file}, certificate ${index + 1} of ${ders.length}`),
  );
  const usage = options.usage ?? usageOf(certificates[0]!);
  const report: ChainReport = {
    file,
    certificates: certificates.map(shown),
    warnings: [...timeWarnings(certificates, nowMs), ...(await keyWarnings(file, pem, certificates[0]!))],
    text: '',
  };
  if (trust) {
    const anchors = await loadTrust(trust);
    try {
      const { endEntity, depth, limited, rights, notAfterMs } = verifyChain(ders, anchors, nowMs, {
        usage,
        source: file,
      });
      report.verdict = { dn: endEntity.dn, depth, limited, rights, notAfter: instant(notAfterMs) };
    } catch (error) {
      if (!(error instanceof PilotageError)) throw error;
      report.refusal = error;
    }
  }
  return { ...report, text: textOf(report, trust) };
}

const isUsage = (text: string): text is CertificateUsage => text === 'client' || text === 'server';

/** A server's certificate is judged as one unless something else is asked for. */
const usageOf = ({ extendedKeyUsage }: Certificate): CertificateUsage =>
  extendedKeyUsage?.has(extendedUsages.server) && !extendedKeyUsage.has(extendedUsages.client)
    ? 'server'
    : 'client';

const instant = (ms: number): string => new Date(ms).toISOString().replace('.000Z', 'Z');

function shown(certificate: Certificate): ShownCertificate {
  const { subjectDn, issuerDn, serial, publicKey, keyHash, notBeforeMs, notAfterMs } = certificate;
  const { modulusLength, namedCurve } = publicKey.asymmetricKeyDetails ?? {};
  return {
    subject: subjectDn,
    issuer: issuerDn,
    serial,
    kind: kindOf(certificate),
    key: [publicKey.asymmetricKeyType, modulusLength ?? namedCurve].filter(Boolean).join(' '),
    keyHash,
    notBefore: instant(notBeforeMs),
    notAfter: instant(notAfterMs),
  };
}

function kindOf(certificate: Certificate): string {
  if (isProxy(certificate)) {
    const { language, pathLength } = certificate.proxyInfo ?? { language: '?' };
    const [name] = Object.entries(proxyPolicies).find(([, oid]) => oid === language) ?? [language];
    return `proxy (${name}${pathLength === undefined ? '' : `, path length ${pathLength}`})`;
  }
  if (!certificate.basicConstraints?.ca) return 'end entity';
  return isSelfSigned(certificate) ? 'root authority' : 'authority';
}

function timeWarnings(certificates: Certificate[], nowMs: number): string[] {
  return certificates.flatMap(({ where, notBeforeMs, notAfterMs }) => {
    if (nowMs > notAfterMs) return [`${where}: expired at ${instant(notAfterMs)}. Get a new one.`];
    if (nowMs < notBeforeMs) return [`${where}: valid only from ${instant(notBeforeMs)}. Check the clock.`];
    const hours = (notAfterMs - nowMs) / 3_600_000;
    return hours < 1 ? [`${where}: ends in ${Math.ceil(hours * 60)} minutes. Renew it soon.`] : [];
  });
}

/** A proxy file holds its key too: it must belong to the leaf and be readable by its owner only. */
async function keyWarnings(file: string, pem: string, leaf: Certificate): Promise<string[]> {
  if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem)) return [];
  const warnings: string[] = [];
  let mode: number;
  try {
    ({ mode } = await stat(file));
  } catch (error) {
    throw fromSystemError(error, file);
  }
  if (mode & 0o077) {
    warnings.push(`${file}: holds a private key but has mode ${(mode & 0o777).toString(8)}. Run chmod 600.`);
  }
  try {
    if (!leaf.x509.checkPrivateKey(readPrivateKey(pem, file))) {
      warnings.push(
        `${file}: the private key does not belong to the first certificate. Put the right one there.`,
      );
    }
  } catch (error) {
    if (!(error instanceof PilotageError)) throw error;
    warnings.push(`${file}: ${error.message} ${error.fix ?? ''}`);
  }
  return warnings;
}

function textOf(report: ChainReport, trust: string | undefined): string {
  const blocks = report.certificates.map((certificate, index) =>
    [
      `${index + 1}. ${certificate.kind}: ${certificate.subject}`,
      `   issuer   ${certificate.issuer}`,
      `   serial   ${certificate.serial}`,
      `   key      ${certificate.key}, sha256 ${certificate.keyHash}`,
      `   valid    ${certificate.notBefore} to ${certificate.notAfter}`,
    ].join('\n'),
  );
  const lines = [`${report.file}: ${report.certificates.length} certificate(s), leaf first`, ...blocks];
  for (const warning of report.warnings) lines.push(`warning: ${warning}`);
  const { verdict } = report;
  if (verdict) {
    lines.push(
      `holds: ${verdict.dn}, ${verdict.depth} proxies, rights ${verdict.rights}, until ${verdict.notAfter}`,
    );
  } else if (report.refusal) lines.push('refused:');
  else if (!trust) lines.push('not judged: name the trusted authorities with --trust');
  return lines.join('\n');
}
