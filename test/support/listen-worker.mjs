/** A worker of a cluster that calls `listen()` and tells the primary its address, or the code of its error. */
import { listen } from 'ebb'

let said
try {
  said = listen(JSON.parse(process.argv[2]), { open: (connection) => connection.close() }).address
} catch (error) {
  said = error.code
}
process.send(said)
