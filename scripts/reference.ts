import * as z from 'zod';
import { stringify } from 'yaml';
import { exitCodes } from '../lib/cli.ts';
import { errorTable } from '../lib/error-table.ts';
import { causeTable } from '../lib/job-causes.ts';
import { jobStates, jobTransitions } from '../lib/job-states.ts';

/** Makes the generated parts of docs/reference, and each component's config/defaults.yaml, from the code. */

const row = (cells: readonly (string | number | boolean)[]) =>
  `| ${cells.map(cell => String(cell).replaceAll('|', '\\|')).join(' | ')} |`;
const markdownTable = (
  header: readonly string[],
  rows: readonly (readonly (string | number | boolean)[])[],
) => [row(header), row(header.map(() => '---')), ...rows.map(row)].join('\n');

export function wireErrorTable(): string {
  return markdownTable(
    ['code', 'status', 'what it says', 'a load balancer', 'a client'],
    Object.entries(errorTable).map(([code, entry]) => [
      `\`${code}\``,
      entry.status,
      entry.meaning,
      entry.balancer,
      entry.client,
    ]),
  );
}

export function causesPage(): string {
  const causes = markdownTable(
    ['cause', 'who acts', 'tried again', 'uses up a try', 'what it says', 'what to do'],
    Object.entries(causeTable).map(([code, entry]) => [
      `\`${code}\``,
      entry.owner,
      entry.retry ? 'yes' : 'no',
      entry.countsAsTry ? 'yes' : 'no',
      entry.meaning,
      entry.fix,
    ]),
  );
  const states = markdownTable(
    ['state', 'may become'],
    jobStates.map(state => [`\`${state}\``, jobTransitions[state].join(', ') || '(final)']),
  );
  return `# Job states and causes\n\nMade from \`lib/job-states.ts\` and \`lib/job-causes.ts\` by \`npm run docs\`.\n\n## States\n\n${states}\n\n## Why an attempt ended other than well\n\n${causes}\n`;
}

const exitMeanings: Record<keyof typeof exitCodes, string> = {
  ok: 'It worked.',
  failed: 'It was tried and did not succeed: a job failed, a program ended, a disk is full, a defect.',
  usage: 'The call, a file or the configuration is wrong; the message says where and what to do.',
  refused: 'Something was verified or judged and refused: a signature, a hash, a certificate, a policy rule.',
  interrupted: 'It was stopped by a signal before it had ended.',
  unreachable: 'A service cannot be reached, or is not ready now; trying later can help.',
};

export function exitCodesPage(): string {
  const rows = Object.entries(exitCodes).map(([name, code]) => [
    code,
    exitMeanings[name as keyof typeof exitCodes],
  ]);
  return `# Exit codes\n\nThe same for every command; made from \`lib/cli.ts\` by \`npm run docs\`. The wrapper and the pilot have their own, in\n[the bootstrap's page](bootstrap.md).\n\n${markdownTable(['code', 'meaning'], rows)}\n`;
}

interface JsonSchema {
  description?: string;
  default?: unknown;
  type?: string;
  anyOf?: JsonSchema[];
  enum?: unknown[];
  properties?: Record<string, JsonSchema>;
  items?: JsonSchema;
}

const fieldsOf = (schema: z.ZodType): [string, JsonSchema][] =>
  Object.entries(
    (z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonSchema).properties ?? {},
  );

const typeName = (field: JsonSchema): string =>
  field.enum
    ? field.enum.map(value => JSON.stringify(value)).join(', ')
    : (field.type ?? field.anyOf?.map(typeName).join(' or ') ?? 'value');

/** A field with those inside it: `tls`, `tls.keyFile`, `queues[].name`. */
function withInner(name: string, field: JsonSchema): [string, JsonSchema][] {
  const inner = Object.entries(field.properties ?? {}).map(
    ([key, value]) => [`${name}.${key}`, value] as const,
  );
  const items = Object.entries(field.items?.properties ?? {}).map(
    ([key, value]) => [`${name}[].${key}`, value] as const,
  );
  return [[name, field], ...[...inner, ...items].flatMap(([key, value]) => withInner(key, value))];
}

/** The reference of one component's configuration. */
export function configPage(component: string, envPrefix: string, schema: z.ZodType): string {
  const fields = fieldsOf(schema).flatMap(([name, field]) => withInner(name, field));
  const rows = fields.map(([name, field]) => [
    `\`${name}\``,
    typeName(field),
    field.default === undefined ? '' : `\`${JSON.stringify(field.default)}\``,
    field.description ?? '',
  ]);
  return `# Configuration: ${component}\n\nMade from \`${component}/config/schema.ts\` by \`npm run docs\`. Defaults < file < environment (\`${envPrefix}FIELD_NAME\`) < flags.\n\n${markdownTable(['setting', 'type', 'default', 'meaning'], rows)}\n`;
}

/** A component's documented defaults as YAML; settings without a default are named in comments. */
export function defaultsYaml(component: string, schema: z.ZodType): string {
  const parts = fieldsOf(schema).map(([name, field]) => {
    const comment = field.description ? `# ${field.description.replaceAll('\n', '\n# ')}\n` : '';
    const value = field.default === undefined ? `# ${name}:\n` : stringify({ [name]: field.default });
    return comment + value;
  });
  return `# Defaults of ${component}, made from schema.ts by \`npm run docs\`. Copy what you change.\n\n${parts.join('\n')}`;
}
