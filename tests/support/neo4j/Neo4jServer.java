import java.nio.file.Path;
import org.neo4j.configuration.GraphDatabaseSettings;
import org.neo4j.configuration.connectors.BoltConnector;
import org.neo4j.configuration.helpers.SocketAddress;
import org.neo4j.dbms.api.DatabaseManagementServiceBuilder;

/** A Neo4j Community server for tests: `java -cp 'lib/*' Neo4jServer.java HOME PORT BYTES`, with authentication, on loopback;
    a transaction may take so many bytes of memory. It ends when its standard input does, so that it never outlives the tests that started it. */
public class Neo4jServer {
    public static void main(String[] arguments) throws Exception {
        var server = new DatabaseManagementServiceBuilder(Path.of(arguments[0]))
                .setConfig(BoltConnector.enabled, true)
                .setConfig(BoltConnector.listen_address, new SocketAddress("127.0.0.1", Integer.parseInt(arguments[1])))
                .setConfig(GraphDatabaseSettings.auth_enabled, true)
                .setConfig(GraphDatabaseSettings.pagecache_memory, 64L << 20)
                .setConfig(GraphDatabaseSettings.memory_transaction_max_size, Long.parseLong(arguments[2]))
                .build();
        System.out.println("started");
        while (System.in.read() >= 0) { }
        server.shutdown();
    }
}
