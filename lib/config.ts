import type * as z from 'zod';
import { libError } from './errors.ts';
import { readTextBounded } from './files.ts';

/** Where a value came from; the later in the list wins. */
export type ConfigSource = 'default' | 'file' | 'environment' | 'flag';

export interface LoadedConfig<T> {
  /** The frozen configuration. */
  value: T;
  /** Source of each top-level field. */
  sources: Record<string, ConfigSource>;
}

/**
 * Reads a program's configuration once: defaults < file < environment < flags. Config is data, never code.
 *
 * @param options.schema a zod strict object; unknown keys fail with the nearest known name.
 * @param options.file YAML or JSON file; missing or unreadable is an error when it is named.
 * @param options.given values that were read already, from the file that `where` names; in the place of `file`.
 * @param options.envPrefix `PILOTAGE_SERVER_` reads `PILOTAGE_SERVER_LISTEN` into `listen`; JSON or plain text.
 * @param options.flags values given on the command line; `undefined` ones are ignored.
 * @throws E_CONFIG_UNREADABLE, E_CONFIG_INVALID naming file, field, what was expected and found.
 */
export async function loadConfig<S extends z.ZodObject>(options: {
  schema: S;
  file?: string | undefined;
  given?: { where: string; values: Record<string, unknown> };
  envPrefix: string;
  env?: NodeJS.ProcessEnv;
  flags?: Record<string, unknown>;
}): Promise<LoadedConfig<z.output<S>>> {
  const known = Object.keys(options.schema.shape);
  const sources: Record<string, ConfigSource> = Object.fromEntries(known.map(key => [key, 'default']));
  const merged: Record<string, unknown> = {};
  const put = (source: ConfigSource, values: Record<string, unknown>) => {
    for (const [key, value] of Object.entries(values)) {
      if (value === undefined) continue;
      merged[key] = value;
      sources[key] = source;
    }
  };
  if (options.file !== undefined) put('file', await readConfigFile(options.file));
  if (options.given !== undefined) put('file', options.given.values);
  put('environment', fromEnvironment(known, options.envPrefix, options.env ?? process.env));
  put('flag', options.flags ?? {});
  const result = options.schema.safeParse(merged);
  if (!result.success) {
    const file = options.file ?? options.given?.where;
    const { issues } = result.error;
    // A misspelt name first: what it leaves out follows from it.
    const worst = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0]!;
    const descriptions = Object.fromEntries(
      known.map(key => [key, (options.schema.shape[key] as z.ZodType).description]),
    );
    throw describeIssue(worst, known, sources, { file, envPrefix: options.envPrefix, descriptions });
  }
  return { value: Object.freeze(result.data) as z.output<S>, sources };
}

async function readConfigFile(file: string): Promise<Record<string, unknown>> {
  let value: unknown;
  try {
    // Loaded here, so that a program without a configuration file (the pilot) does not carry it.
    const { parse: parseYaml } = await import('yaml');
    value = parseYaml(await readTextBounded(file));
  } catch (error) {
    throw libError({
      code: 'E_CONFIG_UNREADABLE',
      message: `The configuration file cannot be read: ${(error as Error).message.split('\n')[0]}`,
      where: file,
      expected: 'a YAML or JSON file with one object',
      fix: 'Check the path and the syntax at the named line.',
      cause: error,
    });
  }
  if (value === null || value === undefined) return {};
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw libError({
      code: 'E_CONFIG_UNREADABLE',
      message: 'The configuration file does not hold an object.',
      where: file,
      expected: 'key: value lines',
      found: Array.isArray(value) ? 'a list' : typeof value,
      fix: 'Write one "key: value" per line.',
    });
  }
  return value as Record<string, unknown>;
}

function fromEnvironment(known: string[], prefix: string, env: NodeJS.ProcessEnv): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const key of known) {
    const text = env[prefix + key.replace(/[A-Z]/g, letter => `_${letter}`).toUpperCase()];
    if (text === undefined) continue;
    try {
      values[key] = JSON.parse(text);
    } catch {
      values[key] = text;
    }
  }
  return values;
}

function describeIssue(
  issue: z.core.$ZodIssue,
  known: string[],
  sources: Record<string, ConfigSource>,
  options: {
    file?: string | undefined;
    envPrefix: string;
    descriptions: Record<string, string | undefined>;
  },
) {
  const top = String(issue.path[0] ?? '');
  const unknownTop = issue.code === 'unrecognized_keys' && issue.path.length === 0 ? issue.keys[0]! : top;
  const source = sources[unknownTop] ?? 'file';
  const from = source === 'file' ? (options.file ?? 'file') : source;
  if (issue.code === 'unrecognized_keys') {
    const key = [...issue.path, issue.keys[0]!].join('.');
    const nested = issue.path.length > 0;
    return libError({
      code: 'E_CONFIG_INVALID',
      message: `Unknown setting "${key}".`,
      where: from,
      ...(!nested && { expected: `one of ${known.join(', ')}` }),
      fix: nested
        ? `The settings of "${issue.path.join('.')}" are in docs/reference; correct the name or leave it out.`
        : `Did you mean "${nearest(key, known)}"?`,
    });
  }
  const environment = options.envPrefix + top.replace(/[A-Z]/g, letter => `_${letter}`).toUpperCase();
  if (source === 'default') {
    return libError({
      code: 'E_CONFIG_INVALID',
      message: `The setting "${issue.path.join('.')}" is needed and nothing gives it.`,
      where: options.file ?? 'no configuration file was named',
      expected: issue.path.length === 1 ? (options.descriptions[top] ?? issue.message) : issue.message,
      fix: `Set "${top}" in the file (--config), by a flag, or as ${environment}.`,
    });
  }
  return libError({
    code: 'E_CONFIG_INVALID',
    message: `The setting "${issue.path.join('.')}" is not valid: ${issue.message}.`,
    where: source === 'environment' ? environment : from,
    fix: 'Correct the value; docs/reference has every setting.',
  });
}

/** The known word with the smallest edit distance. */
export function nearest(wordGiven: string, words: readonly string[]): string {
  const distance = (a: string, b: string): number => {
    let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
    for (let i = 1; i <= a.length; i += 1) {
      const current = [i];
      for (let j = 1; j <= b.length; j += 1) {
        current[j] = Math.min(
          previous[j]! + 1,
          current[j - 1]! + 1,
          previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1),
        );
      }
      previous = current;
    }
    return previous[b.length]!;
  };
  return words.toSorted((a, b) => distance(wordGiven, a) - distance(wordGiven, b))[0] ?? '';
}
