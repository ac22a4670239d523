import { parseArgs } from 'node:util';
import { libError } from '../../lib/errors.ts';

/**
 * The options of a bench, `--name VALUE` each, and `--json`.
 *
 * @param defaults of each option that has a value. @throws E_USAGE naming an option that there is not.
 */
export function readOptions<Name extends string>(
  defaults: Record<Name, string>,
): Record<Name, string> & { json: boolean } {
  const withValue = Object.entries<string>(defaults).map(
    ([name, value]) => [name, { type: 'string', default: value }] as const,
  );
  try {
    const { values } = parseArgs({
      options: { json: { type: 'boolean', default: false }, ...Object.fromEntries(withValue) },
    });
    return values as Record<Name, string> & { json: boolean };
  } catch (error) {
    const known = ['json', ...Object.keys(defaults)].map(name => `--${name}`);
    throw wrongCall('the command line', known.join(', '), (error as Error).message);
  }
}

/** A whole number from 1 on. @throws E_USAGE naming the option. */
export function count(option: string, text: string, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= most) return value;
  throw wrongCall(option, `1 to ${most}`, text);
}

export const wrongCall = (where: string, expected: string, found: string) =>
  libError({ code: 'E_USAGE', message: 'The call is not as it should be.', where, expected, found });
