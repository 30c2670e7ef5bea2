-- Says at once which row of uacreg, address or trunk was changed (NOTIFY kemi_trunkauth, 'table:id'); never what is in it.
-- Run any number of times, as the tables' owner. Without it, changes are found by comparison. `make db` runs this file.

CREATE OR REPLACE FUNCTION kemi_trunkauth_notice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_notify('kemi_trunkauth', TG_TABLE_NAME || ':*');
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('kemi_trunkauth', TG_TABLE_NAME || ':' || OLD.id);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('kemi_trunkauth', TG_TABLE_NAME || ':' || NEW.id);
    END IF;
    RETURN NULL;
END
$$;

DROP TRIGGER IF EXISTS kemi_trunkauth_notice ON uacreg;
CREATE TRIGGER kemi_trunkauth_notice AFTER INSERT OR UPDATE OR DELETE ON uacreg
    FOR EACH ROW EXECUTE FUNCTION kemi_trunkauth_notice();

DROP TRIGGER IF EXISTS kemi_trunkauth_notice ON address;
CREATE TRIGGER kemi_trunkauth_notice AFTER INSERT OR UPDATE OR DELETE ON address
    FOR EACH ROW EXECUTE FUNCTION kemi_trunkauth_notice();

DROP TRIGGER IF EXISTS kemi_trunkauth_emptied ON uacreg;
CREATE TRIGGER kemi_trunkauth_emptied AFTER TRUNCATE ON uacreg
    FOR EACH STATEMENT EXECUTE FUNCTION kemi_trunkauth_notice();

DROP TRIGGER IF EXISTS kemi_trunkauth_emptied ON address;
CREATE TRIGGER kemi_trunkauth_emptied AFTER TRUNCATE ON address
    FOR EACH STATEMENT EXECUTE FUNCTION kemi_trunkauth_notice();

DROP TRIGGER IF EXISTS kemi_trunkauth_notice ON trunk;
CREATE TRIGGER kemi_trunkauth_notice AFTER INSERT OR UPDATE OR DELETE ON trunk
    FOR EACH ROW EXECUTE FUNCTION kemi_trunkauth_notice();

DROP TRIGGER IF EXISTS kemi_trunkauth_emptied ON trunk;
CREATE TRIGGER kemi_trunkauth_emptied AFTER TRUNCATE ON trunk
    FOR EACH STATEMENT EXECUTE FUNCTION kemi_trunkauth_notice();

-- A table that is new is looked for at once.
NOTIFY kemi_trunkauth, 'trunk:*';
