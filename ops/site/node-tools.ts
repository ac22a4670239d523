import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { opsError } from '../errors.ts';

/** What the bootstrap of a pilot runs; each inner list is satisfied by one of its programs. */
const needed = [['sh'], ['awk'], ['openssl'], ['tar'], ['gzip'], ['curl', 'wget']];

/**
 * Makes sure that pilots can start on this machine, before anything is signed or started.
 *
 * @throws E_NODE_TOOL naming every program that is missing.
 */
export function requireNodeTools(path = process.env.PATH ?? ''): void {
  const missing = needed
    .filter(names => !names.some(name => isOnPath(name, path)))
    .map(names => names.join(' or '));
  if (missing.length === 0) return;
  throw opsError({
    code: 'E_NODE_TOOL',
    message: 'This machine lacks programs that the bootstrap of a pilot runs.',
    where: 'PATH',
    expected: needed.map(names => names.join(' or ')).join(', '),
    found: `no ${missing.join(', no ')}`,
    fix: `Install them; on Debian: apt-get install ${missing.map(names => names.split(' ')[0]).join(' ')}`,
  });
}

function isOnPath(name: string, path: string): boolean {
  return path.split(delimiter).some(directory => {
    try {
      accessSync(join(directory, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
