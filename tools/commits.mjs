/**
 * `npm run commits`: finds commits whose subject is longer than 72 characters. Only commits after {@link BASE} count,
 * because history is not rewritten. Exit code 1 if there is one.
 */
import { execFileSync } from 'node:child_process'

const LENGTH = 72

/** The last commit made before the rule. */
const BASE = '6d300ddaf7495efd2deb8354a445f7fc2275aceb'

const commits = subjects()
if (commits === undefined) console.error(`commits: the history does not reach back to ${BASE.slice(0, 7)}; not checked`)
for (const { id, subject } of commits ?? []) {
  if ([...subject].length <= LENGTH) continue
  console.error(`${id}: subject has ${[...subject].length} characters, at most ${LENGTH}: ${subject}`)
  process.exitCode = 1
}

/** Commits from {@link BASE} to the present one; undefined in a shallow clone or outside of a repository. */
function subjects() {
  try {
    const log = execFileSync('git', ['log', '--no-merges', '--format=%h %s', process.argv[2] ?? `${BASE}..HEAD`], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore']
    })
    return log
      .split('\n')
      .filter(Boolean)
      .map((line) => ({ id: line.slice(0, line.indexOf(' ')), subject: line.slice(line.indexOf(' ') + 1) }))
  } catch {
    return undefined
  }
}
